"""Records of any kind in; a prediction or a dead letter for each new one out, each under its own key."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import pytest
from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from model.data.contexts import types_of
from model.data.events import EVENT_TYPES
from model.fusion.candidate_features import FEATURES
from model.profile.profile import Profile
from model.profile.why.left_out import AGES, TERMS
from model.profile.why.reasons import ReasonWeights
from model.serving.canary import Canary
from model.serving.serving import Serving, serve
from model.serving.state_engine import StateEngine
from model.state.log_cuts import CUT_USER, LogCut
from model.state.user_record import record_position, records_of
from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.compression import CODECS
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Compression, Settings, load_settings
from tests.unit.builders.any_event import ANY_EVENT, INT64
from tests.unit.builders.basics import (
    CPU,
    ITEMS,
    Shelf,
    current,
    make_record,
    make_states,
    previous,
    unpacked,
    unreadable_batch,
    version,
)

SETTINGS = load_settings({"recommendations": 4, "next_actions": 6})
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"
Served: TypeAlias = "Callable[[], Serving] | None"


class Bench:
    """A pipeline with its states and its metrics."""

    def __init__(self, serving: Served = current, settings: Settings = SETTINGS) -> None:
        self.registry = CollectorRegistry()
        self.shelf = Shelf()
        self.engine = StateEngine(make_states(stored=self.shelf), rules_share=1)
        if serving is not None:
            self.engine.serve(serving())
        ticks: Iterator[int] = count()
        self.pipeline = Pipeline(self.engine, settings, WorkerMetrics(self.registry), lambda: float(next(ticks)))

    def process(self, records: Sequence[Record]) -> dict[int, BatchResult]:
        results = self.pipeline.encode(self.pipeline.answer(self.pipeline.step(self.pipeline.decode(records, 1))))
        by_partition = {result.partition: result for result in results}
        assert len(by_partition) == len(results)
        return by_partition

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"nextact_{name}", labels)


def event(user: str = "u", *, offset: int, partition: int = 0, **fields: Any) -> Record:
    content = {"user_id": user, "type": "view", "item_id": "item 1", **fields}
    value = json.dumps(content).encode()
    return make_record(value, key=user.encode(), offset=offset, timestamp=1000 + offset, partition=partition)


def predictions(result: BatchResult) -> list[Prediction]:
    return [decode_prediction(sent.value or b"") for sent in unpacked(result.predictions)]


def keys(sent: Sequence[OutgoingRecord]) -> list[bytes | None]:
    return [outgoing.key for outgoing in sent]


def check_sound(prediction: Prediction) -> None:
    """Probabilities are probabilities, best first, by model or rules."""
    assert set(prediction.next_type) == set(EVENT_TYPES)
    assert sum(prediction.next_type.values()) == pytest.approx(1, abs=1e-5)
    actions = [action.probability for action in prediction.next_actions]
    scores = [recommendation.score for recommendation in prediction.recommendations]
    for column in (actions, scores, list(prediction.next_type.values()), [prediction.purchase_probability]):
        assert all(0 <= value <= 1 for value in column)
    assert actions == sorted(actions, reverse=True)
    assert scores == sorted(scores, reverse=True)
    assert sum(actions) <= 1 + 1e-5
    assert len(actions) <= SETTINGS.next_actions
    assert len(scores) <= SETTINGS.recommendations
    assert len({recommendation.item_id for recommendation in prediction.recommendations}) == len(scores)
    for action in prediction.next_actions:
        assert (action.item_id is None) == (action.type == "search")


def test_each_new_record_of_a_mixed_batch_gets_one_answer() -> None:
    bench = Bench()
    bench.process([event(offset=0), event("é", offset=1)])
    (result,) = bench.process(
        [
            event(offset=0),  # a replay
            event(offset=2, event_id="x", type="add_to_cart", timestamp="1970-01-01T00:00:01Z"),
            make_record(b"{", key=b"bad", offset=3),
            event(offset=4, event_id="x"),  # a repeat
            event("é", offset=5, type="search", query="red"),
            make_record(None, key=None, offset=6),
            event("new", offset=7),
        ]
    ).values()
    answers = predictions(result)
    assert keys(unpacked(result.predictions)) == [b"u", b"u", "é".encode(), b"new"]
    assert [prediction.user_id for prediction in answers] == ["u", "u", "é", "new"]
    assert [prediction.source.offset for prediction in answers] == [2, 4, 5, 7]
    assert [prediction.history_length for prediction in answers] == [2, 2, 2, 1]
    assert [prediction.event_type for prediction in answers] == ["cart", "view", "search", "view"]
    assert [prediction.event_id for prediction in answers] == ["x", "x", None, None]
    assert [prediction.event_timestamp for prediction in answers] == [1000, 1004, 1005, 1007]
    assert {prediction.model_version for prediction in answers} == {"v1"}
    assert result.record_times.tolist() == [1002, 1004, 1005, 1007]
    assert result.ranker == "model"
    assert (keys(unpacked(result.dead_letters)), result.reasons) == ([b"bad", None], ["not_json", "empty"])
    assert Counter(keys(unpacked(result.changelog))) == Counter([b"u", "é".encode(), b"new"])
    for prediction in answers:
        check_sound(prediction)


def test_results_say_whose_their_predictions_are_when_somebody_asks() -> None:
    bench = Bench()
    bench.engine.serve(current(), Canary(previous(), 0.5))
    records = [event(f"u{n % 5}", offset=n, partition=n % 3) for n in range(20)]
    assert {result.published for result in bench.process(records[:3]).values()} == {None}
    bench.pipeline.publishes_values = True
    for partition, result in bench.process([*records[3:], make_record(b"{", key=b"bad", offset=20)]).items():
        assert result.published is not None
        users, indices, values, rows = (
            getattr(result.published, name) for name in ("users", "indices", "values", "rows")
        )
        told = records_of(*values)
        assert len(rows) == len(result.record_times) == 6 - (partition == 2) * 1
        assert [(users[indices[row]].encode(), told[row]) for row in rows.tolist()] == [
            (sent.key, sent.value) for sent in unpacked(result.predictions)
        ]


def basket(lines: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"item_id": f"item {n}", "quantity": 1 + n, **fields} for n in range(lines)]


@pytest.mark.parametrize("serving", [current, None])
def test_an_event_of_several_items_is_answered_once_after_all_of_them(serving: Served) -> None:
    bench = Bench(serving)
    records = [
        event(offset=0),
        event("é", offset=1, partition=1, type="purchase", items=basket(2)),
        event(offset=2, type="purchase", items=basket(3), event_id="x"),
        event(offset=3, type="cart", items=[*basket(2), {"item_id": ""}]),  # not an event, so nothing of it counts
        event(offset=4, type="purchase", items=basket(3), event_id="x"),  # a repeat
        event(offset=5, type="view", items=basket(40)),  # no more than 32 count
        event(offset=6),
    ]
    results = bench.process(records)
    answers = predictions(results[0])
    assert [one.source.offset for one in answers] == [0, 2, 4, 5, 6]
    assert [one.history_length for one in answers] == [1, 4, 4, 36, 37]
    assert [one.event_type for one in answers] == ["view", "purchase", "purchase", "view", "view"]
    assert results[0].reasons == ["invalid_field"]
    assert [one.history_length for one in predictions(results[1])] == [2]
    assert results[0].record_times.tolist() == [1000, 1002, 1004, 1005, 1006]
    assert [bench.value(f"{name}_total") for name in ("events", "duplicate_events", "replayed_events")] == [6, 1, 0]
    assert all(not unpacked(result.predictions) for result in bench.process(records).values())
    assert bench.value("replayed_events_total") == 6


@pytest.mark.parametrize("serving", [current, None])
def test_what_is_given_back_is_no_purchase_and_answered_as_it_was_published(serving: Served) -> None:
    bench = Bench(serving)
    lines = [{"item_id": "item 1"}, {"item_id": "item 2", "quantity": -1}]
    found = bench.process(
        [
            event(offset=0, type="purchase", quantity=-1),
            event(offset=1, type="purchase", quantity=1),
            event(offset=2, type="remove"),
            event("v", offset=3, type="purchase", items=lines),
        ]
    )
    assert [one.event_type for one in predictions(found[0])] == ["purchase", "purchase", "remove", "purchase"]
    for user, wanted in (("u", ["remove", "purchase", "remove"]), ("v", ["purchase", "remove"])):
        _, contexts, sizes = bench.engine.states.histories.gather(bench.engine.slots_of([0], [user]))
        assert [EVENT_TYPES[code] for code in types_of(contexts[0, : sizes[0]])] == wanted
    assert bench.value("scored_total", ranker="rules") == 1, "what is given back is nothing to foretell"


@pytest.mark.parametrize("serving", [current, None])
def test_a_batch_without_records_passes_and_is_not_counted(serving: Served) -> None:
    bench = Bench(serving)
    assert bench.process([]) == {}
    bench.process([event(offset=0)])
    assert bench.value("batch_events_count") == 1


def test_behind_a_cut_events_are_new_whatever_offsets_their_users_know() -> None:
    bench = Bench()
    before = bench.process([event(offset=20), event("é", partition=1, offset=20)])
    bench.engine.cut(0, LogCut(1, 10))
    results = bench.process([event(offset=9), event(offset=10), event(offset=20), event("é", partition=1, offset=20)])
    answers = predictions(results[0])
    assert [(one.source.offset, one.history_length) for one in answers] == [(10, 2), (20, 3)]
    assert not results[1].predictions
    (first,) = predictions(before[0])
    assert first.source.offset == 20
    assert first.prediction_id not in {one.prediction_id for one in answers}
    ((_, record),) = results[0].states
    assert record_position(record) == (1, (1 << 48) + 20)
    bench.shelf[0, "u"], bench.shelf[0, CUT_USER] = record, LogCut(1, 10).record(epoch=1)
    bench.engine.clear()  # a rebalance
    (again,) = bench.process([event(offset=20), event(offset=21)]).values()
    assert [(one.source.offset, one.history_length) for one in predictions(again)] == [(21, 4)]


def test_everything_is_counted() -> None:
    bench = Bench()
    bench.process([event(offset=0, event_id="x"), make_record(b"", offset=1)])
    bench.process([event(offset=0, event_id="x"), event(offset=2, event_id="x"), event(offset=3)])
    assert bench.value("events_total") == 3
    assert bench.value("replayed_events_total") == 1
    assert bench.value("duplicate_events_total") == 1
    assert bench.value("users") == 1
    assert bench.value("state_bytes") == bench.engine.nbytes + bench.pipeline._answer_engine.nbytes
    assert bench.value("batch_events_sum") == 5
    assert bench.value("scored_total", ranker="model") == bench.value("scored_total", ranker="rules") == 1
    for stage in ("decode", "step", "answer", "encode"):
        assert bench.value("stage_seconds_count", stage=stage) == 2
        assert bench.value("stage_seconds_sum", stage=stage) == 2  # one tick of the clock each


@pytest.mark.parametrize("serving", [None, current], ids=["rules", "model"])
def test_a_batch_without_events_makes_dead_letters_only(serving: Served) -> None:
    (result,) = Bench(serving).process([make_record(b"{", offset=1), make_record(b"[]", offset=2)]).values()
    assert (result.predictions, result.changelog, result.record_times.tolist()) == ([], [], [])
    assert result.reasons == ["not_json", "not_object"]


@pytest.mark.parametrize("serving", [current, None], ids=["a model", "no model"])
def test_what_is_no_action_is_counted_and_passed_over(serving: Served) -> None:
    bench = Bench(serving)
    noise = [
        event(offset=0, type="page_view"),
        event(offset=1, type="shown", items=["a", "b"]),
        event(offset=2, type="identify", anonymous_id="c"),
        event(offset=3, type="Page_View", partition=1),
    ]
    for result in bench.process(noise).values():
        assert (result.predictions, result.dead_letters, result.changelog, result.states) == ([], [], [], [])
    assert bench.value("ignored_events_total", type="page_view") == 2
    assert bench.value("ignored_events_total", type="identify") == 1
    assert bench.value("shown_lists_total") == 1
    assert bench.value("events_total") == bench.value("replayed_events_total") == 0
    (result,) = bench.process(
        [event(offset=4, type="scroll"), event(offset=5), event(offset=6, type="scroll")]
    ).values()
    assert [(one.source.offset, one.history_length) for one in predictions(result)] == [(5, 1)]


def test_the_format_and_more_noise_are_settings() -> None:
    bench = Bench(settings=load_settings({"event_format": "nextact", "ignored_events": "gaze"}))
    (result,) = bench.process([event(offset=0, type="gaze"), make_record(b'{"events": []}', offset=1)]).values()
    assert result.reasons == ["missing_field"]
    assert bench.value("ignored_events_total", type="gaze") == 1


def test_a_batch_that_nobody_can_read_is_one_dead_letter_and_counts_all_its_records() -> None:
    bench = Bench()
    (result,) = bench.process([event(offset=2), unreadable_batch(3, 7), event(offset=8)]).values()
    assert [answer.source.offset for answer in predictions(result)] == [2, 8]
    (letter,) = unpacked(result.dead_letters)
    assert (letter.key, letter.value, result.reasons) == (None, None, ["too_large"])
    said = dict(letter.headers)
    assert (said["nextact.error.first_offset"], said["nextact.error.offset"]) == (b"3", b"7")
    assert bench.value("unreadable_records_total", reason="too_large") == 5


def test_dead_letters_are_cut_to_what_their_topic_takes() -> None:
    bench = Bench()
    bench.pipeline.largest_dead_letter = 2000
    (result,) = bench.process(
        [make_record(b"x" * 900, offset=n) for n in range(5)] + [make_record(b"x" * 9000)]
    ).values()
    assert all(len(batch.data) <= 2000 for batch in result.dead_letters)
    letters = unpacked(result.dead_letters)
    assert [len(letter.value or b"") for letter in letters[:5]] == [900] * 5
    assert dict(letters[5].headers)["nextact.error.value_bytes"] == b"9000"


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", "snappy"])
def test_everything_is_compressed_as_is_set(compression: Compression) -> None:
    plain, bench = Bench(), Bench(settings=SETTINGS.model_copy(update={"compression": compression}))
    records = [event(f"user {n}", offset=n) for n in range(40)] + [make_record(b"{", offset=40 + n) for n in range(40)]
    (result,) = bench.process(records).values()
    (wanted,) = plain.process(records).values()
    for kind in ("predictions", "dead_letters", "changelog"):
        batches, others = getattr(result, kind), getattr(wanted, kind)
        assert unpacked(batches) == unpacked(others)
        assert {batch.codec for batch in batches} == {CODECS[compression]}
        assert sum(len(batch.data) for batch in batches) < 0.8 * sum(len(batch.data) for batch in others)
    assert result.states == wanted.states


@pytest.mark.parametrize("serving", [None, current], ids=["rules", "model"])
def test_a_batch_of_replays_has_no_effect(serving: Served) -> None:
    bench = Bench(serving)
    batch = [event(offset=0), event("v", offset=1)]
    bench.process(batch)
    (result,) = bench.process(batch).values()
    assert (result.predictions, result.dead_letters, result.changelog) == ([], [], [])
    assert not len(result.record_times)


def test_records_of_the_changelog_bring_the_users_back() -> None:
    before, after = Bench(), Bench()
    first = before.process([event(offset=0), event("v", offset=1), event(offset=2, partition=1)])
    for partition, result in first.items():
        assert [(sent.key, sent.value) for sent in unpacked(result.changelog)] == result.states
        after.shelf.update({(partition, str(key, "utf-8")): value for key, value in result.states})
    more = [event(offset=3), event("v", offset=4), event(offset=4, partition=1)]
    results, wanted = after.process(more), before.process(more)
    assert results.keys() == wanted.keys()
    for partition, result in results.items():
        assert unpacked(result.predictions) == unpacked(wanted[partition].predictions)
        assert result.states == wanted[partition].states
        np.testing.assert_array_equal(result.record_times, wanted[partition].record_times)


def test_a_damaged_user_begins_anew_and_is_sound_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.shelf.update({(0, "u"): b"\x01 no record"})
    (result,) = bench.process([event(offset=7), event("v", offset=8)]).values()
    assert [prediction.history_length for prediction in predictions(result)] == [1, 1]
    assert bench.value("damaged_users_total") == 1
    assert "partition 0" in caplog.text
    after = Bench()
    after.shelf.update({(0, str(key, "utf-8")): value for key, value in result.states})
    (result,) = after.process([event(offset=9)]).values()
    assert [prediction.history_length for prediction in predictions(result)] == [2]
    assert after.value("damaged_users_total") == 0


def test_events_that_lie_where_their_key_does_not_belong_are_counted() -> None:
    partitioner, every = DefaultPartitioner(), list(range(SETTINGS.partitions))
    bench = Bench()
    users = [f"user {n}" for n in range(40)]
    right = [partitioner(user.encode(), every, every) for user in users]
    pairs = list(zip(users, right, strict=True))
    bench.process([event(user, offset=n, partition=partition) for n, (user, partition) in enumerate(pairs)])
    assert bench.value("misplaced_records_total") == 0
    bench.process([event(user, offset=100 + n, partition=3) for n, user in enumerate(users)])
    bench.process([make_record(b"{", key=b"bad", offset=500)])
    assert bench.value("misplaced_records_total") == sum(partition != 3 for partition in right) > 20


def test_every_partition_gets_its_own_effects() -> None:
    bench = Bench()
    results = bench.process(
        [
            event(offset=5, partition=2, item_id="item 2"),
            event(offset=5, partition=0),
            make_record(b"", offset=6, partition=0),
            event(offset=6, partition=2),
            make_record(b"", offset=1, partition=1),
        ]
    )
    assert set(results) == {0, 1, 2}
    offsets = {number: [(p.source.partition, p.source.offset) for p in predictions(r)] for number, r in results.items()}
    assert offsets == {0: [(0, 5)], 1: [], 2: [(2, 5), (2, 6)]}
    assert {number: len(result.reasons) for number, result in results.items()} == {0: 1, 1: 1, 2: 0}
    assert {number: keys(unpacked(result.changelog)) for number, result in results.items()} == {
        0: [b"u"],
        1: [],
        2: [b"u"],
    }
    assert [p.history_length for p in predictions(results[2])] == [1, 2]


def test_prediction_ids_depend_on_partition_and_offset_alone() -> None:
    batch = [event(offset=7, partition=3), event("v", offset=8, partition=3)]
    together = predictions(Bench().process(batch)[3])
    later = Bench(None)
    later.process([event(offset=1, partition=3)])
    alone = [predictions(later.process([record])[3])[0] for record in batch]
    assert [p.prediction_id for p in together] == [p.prediction_id for p in alone]
    namespace = uuid.uuid5(uuid.UUID(int=0), f"nextact/{SETTINGS.stream_epoch}/{SETTINGS.events_topic}")
    assert together[0].prediction_id == str(uuid.uuid5(namespace, "3/7"))


def test_the_rules_answer_before_there_is_a_model() -> None:
    (result,) = Bench(None).process([event(offset=0), event(offset=1, item_id="item 2")]).values()
    first, second = predictions(result)
    assert result.ranker == "rules"
    assert first.model_version == "baseline"
    assert [recommendation.item_id for recommendation in first.recommendations] == ["item 1"]
    assert [recommendation.item_id for recommendation in second.recommendations] == ["item 2", "item 1"]


def test_recommendations_are_the_likely_items_and_actions_name_them() -> None:
    (result,) = Bench().process([event(offset=0)]).values()
    (prediction,) = predictions(result)
    items = [recommendation.item_id for recommendation in prediction.recommendations]
    assert len(items) == SETTINGS.recommendations
    assert set(items) <= set(ITEMS)
    assert len(prediction.next_actions) == SETTINGS.next_actions
    best = next(action for action in prediction.next_actions if action.item_id)
    assert best.item_id == items[0]
    assert best.probability <= prediction.recommendations[0].score


MIXED = st.lists(
    st.tuples(
        st.sampled_from("uv"),
        st.sampled_from([*EVENT_TYPES, "nonsense"]),
        st.sampled_from([None, "1", "2"]),
        st.integers(0, 1),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(MIXED, st.booleans(), st.data())
def test_every_record_is_accounted_for_once(
    log: list[tuple[str, str, str | None, int]], model: bool, data: st.DataObject
) -> None:
    bench, answered, done = Bench(current if model else None), Counter[tuple[int, int]](), 0
    records = [
        event(user, offset=n, partition=partition, type=kind, query="red", event_id=event_id)
        for n, (user, kind, event_id, partition) in enumerate(log)
    ]
    while done < len(records):
        start = data.draw(st.integers(0, done))
        done = data.draw(st.integers(done + 1, len(records)))
        for number, result in bench.process(records[start:done]).items():
            answers = predictions(result)
            for prediction in answers:
                check_sound(prediction)
                answered[number, prediction.source.offset] += 1
            assert keys(unpacked(result.predictions)) == [prediction.user_id.encode() for prediction in answers]
            assert sorted(keys(unpacked(result.changelog)), key=str) == sorted(
                {p.user_id.encode() for p in answers}, key=str
            )
            assert len(result.record_times) == len(answers)
    valid = [record for record, entry in zip(records, log, strict=True) if entry[1] != "nonsense"]
    assert answered == Counter({(record.partition, record.offset): 1 for record in valid})


LATEST = load_settings({"predictions_latest_topic": "latest", "recommendations": 4, "next_actions": 6})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0, 3]), st.booleans()), min_size=1, max_size=30),
    st.booleans(),
    st.data(),
)
def test_the_newest_prediction_of_each_user_of_a_batch_is_kept(
    log: list[tuple[str, int, bool]], canary: bool, data: st.DataObject
) -> None:
    bench = Bench(settings=LATEST)
    if canary:
        bench.engine.serve(current(), Canary(previous(), 0.5))
    records = [
        event(user, offset=n, partition=partition, type="view" if fine else "nonsense")
        for n, (user, partition, fine) in enumerate(log)
    ]
    done = 0
    while done < len(records):
        start = data.draw(st.integers(0, done))  # some come again, and are not answered
        done = data.draw(st.integers(done + 1, len(records)))
        for result in bench.process(records[start:done]).values():
            newest = {sent.key: sent.value for sent in unpacked(result.predictions)}
            kept = unpacked(result.latest)
            assert {sent.key: sent.value for sent in kept} == newest
            assert len(kept) == len(newest)
    assert Bench().process(records).popitem()[1].latest == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(ANY_EVENT, INT64, st.integers(0, 1)), max_size=8), min_size=1, max_size=4),
    st.sampled_from(["rules", "model", "canary"]),
)
def test_no_event_whatever_its_numbers_and_texts_fails(
    batches: list[list[tuple[dict[str, Any], int, int]]], answered_by: str
) -> None:
    bench = Bench(None if answered_by == "rules" else current)
    if answered_by == "canary":
        bench.engine.serve(current(), Canary(previous(), 0.5))
    offset = 0
    for batch in batches:
        records = []
        for content, time, partition in batch:
            offset += 2**43 - 1  # an offset has 48 bits, `log_cuts` has the others
            value = json.dumps(content).encode()
            key = content["user_id"].encode()
            records.append(make_record(value, key=key, offset=offset, timestamp=time, partition=partition))
        made = 0
        for result in bench.process(records).values():
            made += len(predictions(result)) + len(unpacked(result.dead_letters))
            for prediction in predictions(result):
                check_sound(prediction)
        assert made == len(batch)


def test_predictions_say_why_for_the_first_items_where_the_version_can_tell() -> None:
    weights = ReasonWeights([[0.1] * TERMS] * AGES, [1.0] * len(FEATURES))
    telling = partial(serve, replace(version(), profile=Profile(reasons=weights)), CPU)
    records = [event(offset=n, item_id=f"item {n % 5}") for n in range(12)]

    said = predictions(Bench(telling).process(records)[0])
    assert all(prediction.reasons is not None and len(prediction.reasons) == 3 for prediction in said)
    for prediction in said:
        reasons = prediction.reasons or []
        assert [one.item_id for one in reasons] == [item.item_id for item in prediction.recommendations[:3]]
        own = {because.item_id for one in reasons for because in one.because if because.item_id}
        assert own <= {f"item {n}" for n in range(5)}
    assert any(one.because for prediction in said for one in prediction.reasons or [])

    for silent in (Bench(), Bench(telling, load_settings({"reasons": 0})), Bench(None)):
        assert [prediction.reasons for prediction in predictions(silent.process(records)[0])] == [None] * 12
    off = load_settings({"profile": "none", "recommendations": 4, "next_actions": 6})
    results = [bench.process(records)[0] for bench in (Bench(telling, off), Bench())]
    without, plain = ([sent.value for sent in unpacked(result.predictions)] for result in results)
    assert without == plain
