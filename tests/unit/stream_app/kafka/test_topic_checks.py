"""What is wrong with topics, and what missing ones must be like."""

from __future__ import annotations

import re

import pytest

from stream_app.contract.topics import LARGEST_BATCH, TopicSpec, topics
from stream_app.kafka.topic_checks import (
    DEFAULT_MAX_BYTES,
    TopicState,
    config_of,
    max_bytes,
    missing_topics,
    problem_of,
    replicas_of,
)
from stream_app.settings import load_settings

SETTINGS = load_settings()
SPECS = {spec.name: spec for spec in topics(SETTINGS)}


def problem(name: str, config: dict[str, str] | None, partitions: int | None = None) -> str:
    spec = SPECS[name]
    return problem_of(SETTINGS, TopicState(spec, partitions or spec.partitions, 1, config)) or ""


def test_two_of_three_replicas_must_have_what_counts_as_written() -> None:
    spec = TopicSpec("t", 1, {"cleanup.policy": "compact"})
    assert [replicas_of(SETTINGS, brokers) for brokers in (1, 2, 3, 9)] == [1, 2, 3, 3]
    assert replicas_of(load_settings({"replication": 5}), 9) == 5
    assert config_of(spec, 2) == {"cleanup.policy": "compact"}
    assert config_of(spec, 3) == {"cleanup.policy": "compact", "min.insync.replicas": "2"}


def test_missing_topics_are_told_with_what_they_must_be_like() -> None:
    missing = [SPECS["shop.events"], SPECS["shop.models"]]
    assert missing_topics(SETTINGS, missing, 1) == (
        "missing topics: shop.events (8 partitions); shop.models (1 partition, cleanup.policy=compact). "
        "`nextact topics` makes them"
    )
    never = missing_topics(load_settings({"create_topics": False}), missing, 3)
    assert "shop.models (1 partition, cleanup.policy=compact, min.insync.replicas=2)" in never
    assert "NEXTACT_CREATE_TOPICS is false" in never


def test_a_topic_that_is_as_it_must_be_has_no_problem() -> None:
    for name, spec in SPECS.items():
        assert problem(name, spec.config) == ""
        assert problem(name, None) == ""


@pytest.mark.parametrize(
    ("name", "config", "partitions", "said"),
    [
        ("shop.events", None, 4, "4 partitions.*8.*NEXTACT_PARTITIONS to 4"),
        ("shop.models", None, 8, "8 partitions"),
        ("shop.users-changelog", {"cleanup.policy": "delete"}, None, "cleanup.policy='delete'.*'compact'"),
        ("shop.users-changelog", {"cleanup.policy": "compact,delete"}, None, "'compact'"),
        ("shop.predictions", {"max.message.bytes": "899999"}, None, "899,999.*900,000"),
    ],
)
def test_a_problem_is_told_with_the_values(
    name: str, config: dict[str, str] | None, partitions: int | None, said: str
) -> None:
    assert re.search(said, problem(name, config, partitions)), problem(name, config, partitions)


def test_what_kafka_takes_by_default_is_more_than_what_is_written() -> None:
    assert max_bytes({"max.message.bytes": "5"}) == 5
    assert max_bytes(None) == max_bytes({}) == DEFAULT_MAX_BYTES > LARGEST_BATCH
