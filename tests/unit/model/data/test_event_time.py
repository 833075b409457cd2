"""Event times of any kind against a shopper's clock kept by hand: flagged, counted, never a reason to reorder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from model.data.contexts import FIRST_GAP, gap_bucket_of, unpack_contexts
from model.data.events import NO_TIME
from model.data.sequences import sequences_of
from model.serving.state_engine import StateEngine
from stream_app.contract.events import decode_batch
from stream_app.contract.predictions import decode_prediction
from stream_app.history.rows import actions_in, rows_of
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import LENGTH, make_record, make_states, unpacked

NOW = 1_767_323_045_678
HOUR = 3_600_000
MINUTE = 60_000
YEAR_1990, YEAR_2100 = 631_152_000_000, 4_102_444_800_000
HALF_AN_HOUR = 30 * MINUTE


@dataclass(frozen=True)
class Sent:
    """A record: whose, the time in it (None: none given), the record's own time, its event id."""

    user: str
    time: int | None
    recorded: int
    event_id: str | None = None

    def record(self, offset: int) -> ConsumerRecord[bytes, bytes]:
        given = {"timestamp": self.time, "event_id": self.event_id}
        content = {"user_id": self.user, "type": "view", "item_id": "item 1"} | given
        return make_record(json.dumps(content).encode(), key=self.user.encode(), offset=offset, timestamp=self.recorded)


def sensible(time: int) -> bool:
    return YEAR_1990 <= time < YEAR_2100


@dataclass
class Shopper:
    """One shopper's clock, an event at a time."""

    clock: int | None = None
    ids: list[str] = field(default_factory=list)
    seen: list[tuple[int, int]] = field(default_factory=list)  # gap bucket and boundary of the applied events

    def take(self, sent: Sent) -> str:
        """The verdict; an event id that came before leaves the clock as it is."""
        time = sent.recorded if sent.time is None else sent.time
        verdict = "ok"
        if not sensible(time):
            verdict = "absurd"
        elif sensible(sent.recorded) and time - sent.recorded > HOUR:
            verdict = "future"
        known: int | None = time
        if verdict != "ok":
            known = sent.recorded if sensible(sent.recorded) else self.clock
        if verdict == "ok" and self.clock is not None and self.clock - time > 5 * MINUTE:
            verdict = "late"
        if sent.event_id is None or sent.event_id not in self.ids[-16:]:
            self.ids += [sent.event_id] if sent.event_id else []
            self._apply(known)
        return verdict

    def _apply(self, known: int | None) -> None:
        if self.clock is None:
            self.seen.append((FIRST_GAP, 1))
            self.clock = known
            return
        later = max(known or self.clock, self.clock)
        gap = later - self.clock
        self.seen.append((gap_bucket_of(gap), int(gap > HALF_AN_HOUR)))
        self.clock = later


ODD = [None, 0, -1, -(2**47), 1_767_323_045, YEAR_1990 - 1, YEAR_1990, YEAR_2100 - 1, YEAR_2100, 250_000_000_000_000]
STEPS = [0, 1, 20_000, HALF_AN_HOUR, HALF_AN_HOUR + 1, 30 * HOUR]
BESIDE = [-20 * 365 * 24 * HOUR, -2 * HOUR, -5 * MINUTE - 1, -5 * MINUTE, -1, 0, 0, 0, HOUR, HOUR + 1, 9 * HOUR]


@st.composite
def logs(draw: st.DrawFn) -> list[Sent]:
    """The records' clock moves on; event times lie beside it, or are odd; some records have no time of their own."""
    now, found = NOW, []
    for _ in range(draw(st.integers(0, 20))):
        now += draw(st.sampled_from(STEPS))
        time = draw(st.sampled_from([now + beside for beside in BESIDE] + ODD))
        recorded = draw(st.sampled_from([now, now, now, now, -1, YEAR_2100]))
        found.append(Sent(draw(st.sampled_from("ab")), time, recorded, draw(st.sampled_from([None, None, "x", "y"]))))
    return found


class Stream:
    """A worker's pipeline on its own, and what it said."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.engine = StateEngine(make_states(), rules_share=1)
        self._pipeline = Pipeline(self.engine, load_settings(), WorkerMetrics(self.registry), lambda: 0.0)
        self.flags: dict[int, str] = {}

    def process(self, records: list[ConsumerRecord[bytes, bytes]]) -> None:
        pipeline = self._pipeline
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(records, 1)))):
            for sent in unpacked(result.predictions):
                prediction = decode_prediction(sent.value or b"")
                assert prediction.source.offset not in self.flags
                assert ("event_time_flag" in json.loads(sent.value or b"")) == (prediction.event_time_flag is not None)
                self.flags[prediction.source.offset] = prediction.event_time_flag or "ok"

    def counted(self) -> dict[str, float]:
        verdicts = ("ok", "late", "future", "absurd")
        name = "nextact_event_time_total"
        return {verdict: self.registry.get_sample_value(name, {"verdict": verdict}) or 0 for verdict in verdicts}

    def seen(self, user: str) -> tuple[int | None, list[tuple[int, int]]]:
        """The user's clock, and gap bucket and boundary of the last actions."""
        states = self.engine.states
        slot = states.slot(0, user)
        assert slot is not None
        _, contexts, (size,) = states.histories.gather(np.array([slot]))
        fields = unpack_contexts(contexts[0, :size])
        clock = int(states.last_times[slot])
        return None if clock == NO_TIME else clock, list(
            zip(fields.gaps.tolist(), fields.boundaries.tolist(), strict=True)
        )


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_any_times_in_any_split_with_replays_come_to_what_one_event_at_a_time_comes_to(
    log: list[Sent], data: st.DataObject
) -> None:
    stream, done = Stream(), 0
    records = [sent.record(offset) for offset, sent in enumerate(log)]
    while done < len(log):
        start, done = data.draw(st.integers(0, done)), data.draw(st.integers(done + 1, len(log)))
        stream.process(records[start:done])
    shoppers = {sent.user: Shopper() for sent in log}
    wanted = {offset: shoppers[sent.user].take(sent) for offset, sent in enumerate(log)}
    assert stream.flags == wanted
    assert stream.counted() == dict.fromkeys(("ok", "late", "future", "absurd"), 0) | Counter(wanted.values())
    for user, shopper in shoppers.items():
        assert stream.seen(user) == (shopper.clock, shopper.seen[-LENGTH:])


@settings(max_examples=100, deadline=None)
@given(logs())
def test_the_trainer_learns_from_the_contexts_of_the_stream(log: list[Sent]) -> None:
    log = [Sent(sent.user, sent.time, sent.recorded) for sent in log]

    rows = rows_of(0, range(len(log)), decode_batch([sent.record(offset) for offset, sent in enumerate(log)]))
    sequences = sequences_of(actions_in(rows))
    shoppers = {sent.user: Shopper() for sent in log}
    for sent in log:
        shoppers[sent.user].take(sent)
    fields = unpack_contexts(sequences.contexts)
    found = list(zip(fields.gaps.tolist(), fields.boundaries.tolist(), strict=True))
    assert found == [pair for shopper in shoppers.values() for pair in shopper.seen]


def verdicts(*log: Sent) -> list[str]:
    stream = Stream()
    stream.process([sent.record(offset) for offset, sent in enumerate(log)])
    return list(stream.flags.values())


def test_an_old_log_published_today_is_in_order() -> None:
    old = NOW - 10 * 365 * 24 * HOUR
    assert verdicts(*(Sent("a", old + n * HOUR, NOW + n) for n in range(4))) == ["ok"] * 4


def test_one_broken_clock_does_not_spoil_what_follows() -> None:
    stream = Stream()
    times = [NOW, 200 * 365 * 24 * HOUR, 0, NOW + 2 * MINUTE, NOW + 3 * MINUTE]
    stream.process([Sent("a", time, NOW + n * MINUTE).record(n) for n, time in enumerate(times)])
    assert list(stream.flags.values()) == ["ok", "absurd", "absurd", "ok", "ok"]
    clock, seen = stream.seen("a")
    assert clock == NOW + 3 * MINUTE
    minute = gap_bucket_of(MINUTE)
    assert seen == [(FIRST_GAP, 1), (minute, 0), (minute, 0), (0, 0), (minute, 0)]


def test_a_repeated_event_id_is_answered_but_moves_nothing() -> None:
    stream = Stream()
    stream.process([Sent("a", NOW, NOW, "x").record(0), Sent("a", NOW + HOUR, NOW + HOUR, "x").record(1)])
    stream.process([Sent("a", NOW + MINUTE, NOW + HOUR, "x").record(2), Sent("a", NOW - HOUR, NOW, "x").record(3)])
    assert stream.flags == {0: "ok", 1: "ok", 2: "ok", 3: "late"}
    assert stream.seen("a") == (NOW, [(FIRST_GAP, 1)])
    assert stream.registry.get_sample_value("nextact_duplicate_events_total") == 3
