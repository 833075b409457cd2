"""The topics of the contract, with the names and partitions of the settings."""

from __future__ import annotations

from stream_app.contract.events import LARGEST_EVENT
from stream_app.contract.topics import LARGEST_DEAD_LETTER, TopicSpec, topics
from stream_app.settings import load_settings

NAMED = {
    "events_topic": "e",
    "predictions_topic": "p",
    "dead_letters_topic": "d",
    "state_topic": "s",
    "joins_topic": "j",
    "models_topic": "m",
    "canary_topic": "c",
    "items_topic": "i",
    "statistics_topic": "st",
    "partitions": 3,
}


def specs() -> dict[str, TopicSpec]:
    return {spec.name: spec for spec in topics(load_settings(NAMED))}


def test_every_topic_is_named_by_its_setting() -> None:
    assert list(specs()) == ["e", "p", "d", "s", "j", "m", "c", "i", "st"]


def test_topics_that_follow_the_events_have_as_many_partitions() -> None:
    needed = {name: spec.partitions for name, spec in specs().items() if not spec.optional}
    assert needed == {"e": 3, "p": 3, "d": 3, "s": 3, "m": 1, "c": 1}


def test_states_and_models_are_compacted_and_never_deleted() -> None:
    policies = {name: spec.config.get("cleanup.policy") for name, spec in specs().items()}
    compacted = {"s": "compact", "m": "compact", "c": "compact,delete", "i": "compact", "st": "compact"}
    assert policies == {"e": None, "p": None, "d": None, "j": None} | compacted


def test_joins_have_as_many_partitions_too_where_there_are_any() -> None:
    joins = specs()["j"]
    assert (joins.partitions, joins.optional, joins.any_partitions) == (3, True, False)


def test_a_report_of_a_worker_that_is_no_more_is_forgotten() -> None:
    assert int(specs()["c"].config["retention.ms"]) > 1000 * load_settings(NAMED).canary_seconds


def test_dead_letters_of_any_size_fit() -> None:
    assert int(specs()["d"].config["max.message.bytes"]) == LARGEST_DEAD_LETTER > 2 * LARGEST_EVENT


def test_the_newest_predictions_are_compacted_where_they_have_a_topic() -> None:
    found = {
        spec.name: spec
        for spec in topics(load_settings(NAMED | {"predictions_latest_topic": "pl", "profile_topic": "pr"}))
    }
    assert found.keys() - specs().keys() == {"pl", "pr"}
    assert found["pl"].config == found["pr"].config
    assert (found["pl"].partitions, found["pl"].optional) == (3, False)
    assert found["pl"].config == {"cleanup.policy": "compact"}


def test_there_are_signals_only_where_they_have_a_topic() -> None:
    named = NAMED | {"signals_topic": "si", "audiences_topic": "au"}
    found = {spec.name: spec for spec in topics(load_settings(named))}
    assert found.keys() - specs().keys() == {"si", "au"}
    assert (found["au"].config["cleanup.policy"], found["au"].optional) == ("compact", True)
    assert (found["si"].partitions, found["si"].optional) == (3, False)
