"""The arithmetic of `sustainable`: loads that wait for nobody, judged runs, searched rates, tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from model.data.events import TYPE_CODES
from stream_app.contract.events import decode_event
from stream_app.settings import Settings
from tests.bench.librdkafka_client import connection
from tests.bench.open_loop import GIVE_UP_S, LEAD_S, EventPool, LoadRun, Record, numbers, offer
from tests.bench.processors import Processors
from tests.bench.rate_points import Point, judged, per_batch
from tests.bench.rate_search import Bounds, highest_held, next_rate
from tests.bench.sustainable import HIGHEST, LOWEST, climb, search
from tests.bench.sustainable_tables import Turn, tables
from tests.bench.systems import Batches
from tests.bench.variants import VARIANTS, Variant

BOUNDS = Bounds(LOWEST, HIGHEST, 1.1)


class FakeStream:
    """Answers record n so many seconds after it was sent; waiting for answers lets time go by, and so do stalls."""

    def __init__(self, answered_after: Callable[[int], float], stalls: dict[int, float] | None = None) -> None:
        self.now = 0.0
        self.sent: list[float] = []
        self._answered_after = answered_after
        self._stalls = stalls or {}
        self._due: list[tuple[float, int]] = []

    def clock(self) -> float:
        return self.now

    def send(self, record: Record) -> None:
        number = len(self.sent)
        self.sent.append(self.now)
        self._due.append((self.now + self._answered_after(number), number))
        self.now += self._stalls.get(number, 0.0)

    def take(self, wait: float) -> list[int]:
        """Waits no longer than for the first answer."""
        first = min((when for when, _ in self._due), default=np.inf)
        self.now = max(self.now, min(self.now + wait, first))
        came = [number for when, number in self._due if when <= self.now]
        self._due = [(when, number) for when, number in self._due if when > self.now]
        return came


def offered(stream: FakeStream, count: int, rate: float) -> LoadRun:
    return offer(stream, [(b"", b"")] * count, rate, stream.clock)


def test_an_event_is_sent_within_a_turn_of_when_it_is_due() -> None:
    run = offered(stream := FakeStream(lambda number: 0.02), 500, 100.0)
    assert len(stream.sent) == len(run.sent) == 500
    assert run.start == LEAD_S
    assert np.all(run.sent >= run.due)
    assert np.max(run.sent - run.due) <= 0.001 + 1e-9
    assert np.all(np.abs(run.latencies - 0.02) <= 0.002)
    assert (run.lost, run.late_share) == (0, 0.0)


def test_what_a_stall_held_up_follows_at_once_and_counts_from_when_it_was_due() -> None:
    run = offered(FakeStream(lambda number: 0.001, {10: 0.5}), 100, 100.0)
    assert run.due == pytest.approx(LEAD_S + np.arange(100) / 100)
    assert run.latencies[11] == pytest.approx(0.49, abs=0.005)
    assert run.latencies[70] == pytest.approx(0.001, abs=0.002)
    assert run.late_share == pytest.approx(0.49, abs=0.02)


def test_the_first_answer_to_an_event_counts() -> None:
    class Twice(FakeStream):
        def take(self, wait: float) -> list[int]:
            came = super().take(wait)
            return came + [0] * (self.now > 0.5)

    assert offered(Twice(lambda number: 0.01), 100, 100.0).latencies[0] == pytest.approx(0.01, abs=0.002)


def test_a_run_ends_early_when_a_stream_cannot_keep_up() -> None:
    run = offered(FakeStream(lambda number: number * 0.004), 10_000, 1000.0)  # it answers 200 a second
    assert len(run.sent) / 1000 == pytest.approx(GIVE_UP_S / 0.8, rel=0.05)  # 0.8 s later every second
    assert run.lost == 0
    assert not judged(run, 10_000)[1]


def test_an_answer_that_never_comes_is_waited_for_and_lost() -> None:
    stream = FakeStream(lambda number: np.inf if number == 7 else 0.01)
    run = offer(stream, [(b"", b"")] * 10, 100.0, stream.clock, grace=3.0)
    assert run.lost == 1
    assert stream.now == pytest.approx(LEAD_S + 0.1 + 3.0, abs=0.05)
    assert run.growth() == np.inf


@pytest.mark.parametrize(("too_fast", "keeps_up"), [(0.5, True), (1.02, True), (1.1, False), (2.0, False)])
def test_answers_that_get_later_and_later_are_a_backlog(too_fast: float, keeps_up: bool) -> None:
    due = np.arange(4000) / 1000
    run = LoadRun(1000.0, 0.0, due, np.maximum(due, due * too_fast) + 0.03)
    assert run.growth() == pytest.approx(max(0.0, too_fast - 1))
    assert judged(run, 4000)[1] is keeps_up


def test_events_before_a_stream_has_settled_do_not_count() -> None:
    received = np.arange(4000) / 1000 + np.where(np.arange(4000) < 500, 9.0, 0.03)
    run = LoadRun(1000.0, 0.0, np.arange(4000) / 1000, received)
    assert judged(run, 4000) == ({"p50": 30, "p90": 30, "p99": 30, "p99.9": 30}, True)


def test_events_are_such_as_publishers_send_and_their_answers_are_known() -> None:
    records = EventPool(50, 20).take(3, 500)
    events = [decode_event(key, value, 0).actions[0] for key, value in records]
    assert len({event.user_id for event in events}) > 30
    assert {event.type for event in events} <= set(TYPE_CODES)
    assert len({event.type for event in events}) > 2
    echoes: list[bytes | None] = [value for _, value in records]
    assert numbers(echoes, 3) == list(range(500))
    assert numbers([*echoes[:2], None, b'{"seen": 4, "event_id": "33-1"}'], 33) == [1]


def sustained(capacity: float, bounds: Bounds = BOUNDS) -> tuple[float, int]:
    """The highest rate that is found of a system that holds up to `capacity`, and after how many tries."""
    verdicts: dict[float, bool] = {}
    while (rate := next_rate(verdicts, bounds)) is not None:
        assert bounds.lowest <= rate <= bounds.highest
        assert rate not in verdicts
        verdicts[rate] = rate <= capacity
    return highest_held(verdicts), len(verdicts)


@pytest.mark.parametrize("capacity", [130.0, 999.0, 1000.0, 4321.0, 31_000.0])
def test_the_highest_rate_is_found_by_doubling_and_bisection(capacity: float) -> None:
    found, tries = sustained(capacity)
    assert capacity / 1.1 <= found <= capacity
    assert tries <= 16


def test_a_system_beyond_the_bounds_ends_the_search() -> None:
    assert sustained(1.0) == (0.0, 1)
    assert sustained(1e9)[0] == HIGHEST


def test_a_search_goes_down_from_rates_that_failed_and_by_those_that_are_known() -> None:
    assert next_rate({1000.0: False}, BOUNDS) == 500
    assert next_rate({150.0: False}, BOUNDS) == LOWEST
    assert next_rate({1000.0: True, 2000.0: False}, BOUNDS) == 1400
    assert next_rate({500.0: False, 1000.0: True, 1090.0: False}, BOUNDS) is None  # a stumble below
    assert highest_held({500.0: False, 1000.0: True, 1090.0: False}) == 1000


def a_point(p99: float, *, keeps_up: bool = True) -> Point:
    micros = {"worker": 9.0, "broker": 8.0, "client": 7.0}
    return Point(dict.fromkeys(("p50", "p90", "p99", "p99.9"), p99), keeps_up, 0.0, micros, {"events": 5, "ms": 3})


def slower_with_load(rate: float) -> Point:
    """40 ms at 1,000 events/s, 120 at 3,000; it falls behind at 7,000."""
    return a_point(rate / 25, keeps_up=rate < 7000)


def test_fixed_rates_are_offered_up_to_the_first_that_is_too_much() -> None:
    points: dict[float, Point] = {}
    climb(points, [500, 4000, 8000, 16_000], slower_with_load)
    assert list(points) == [500, 4000, 8000]


def test_every_limit_is_searched_with_what_is_known_of_the_others() -> None:
    points: dict[float, Point] = {}
    climb(points, [1000, 4000, 8000], slower_with_load)
    search(points, slower_with_load, lambda: True)
    turn = Turn(points)
    for limit, capacity in ((50, 1250), (100, 2500), (250, 6250)):
        assert capacity / 1.1 <= turn.sustained(limit) <= capacity
    assert len(points) <= 14


def test_a_search_without_time_tries_nothing() -> None:
    points = {1000.0: a_point(40), 4000.0: a_point(160)}
    search(points, slower_with_load, lambda: False)
    assert list(points) == [1000, 4000]


def test_the_figures_are_medians_and_a_rate_that_was_not_reached_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [Turn({1000: a_point(40), 2000: a_point(p99)}) for p99 in (90, 110, 95)]
    ours[0].idle.update(worker=0.01, broker=0.03)
    stock = [Turn({1000: a_point(3000, keeps_up=False)}), *(Turn({1000: a_point(80)}) for _ in range(2))]
    echo = [Turn({1000: a_point(10), 2000: a_point(20), 4000: a_point(20)}) for _ in range(3)]
    echo[0].clients["aiokafka_echo"] = {1000: a_point(5)}
    names = {"ours": "nextact", "echo": "an echo", "stock": "stock Faust"}
    found = tables(names, {"ours": ours, "echo": echo, "stock": stock}, [1000, 2000])
    assert found["at_p99_100ms"] == {"ours": 2000, "echo": 4000, "stock": 1000}
    assert found["at_p99_50ms"] == {"ours": 1000, "echo": 4000, "stock": 0}
    assert found["runs"]["at_p99_100ms"]["ours"] == [2000, 1000, 2000]
    assert found["failed_above"]["at_p99_100ms"] == {
        "ours": [None, 2000, None],
        "echo": [None] * 3,
        "stock": [1000, None, None],
    }
    assert found["p99_ms"] == {
        "1000": {"ours": 40, "echo": 10, "stock": 80},
        "2000": {"ours": 95, "echo": 20, "stock": None},
        "4000": {"echo": 20},
    }
    assert found["cpu_us_per_event"]["worker"]["1000"] == {"ours": 9, "echo": 9, "stock": 9}
    assert found["batch"]["events"]["1000"] == {"ours": 5, "echo": 5, "stock": 5}
    assert found["idle_cores"] == {"worker": {"ours": 0.01}, "broker": {"ours": 0.03}}
    assert found["clients"]["librdkafka_echo"]["1000"]["p99"] == 10
    assert found["clients"]["aiokafka_echo"]["1000"] == {"p50": 5, "p99": 5, "client_us": 7, "broker_us": 8}
    assert msgspec.json.decode(msgspec.json.encode(found))
    printed = capsys.readouterr().out
    assert printed.index("0.5 x  nextact : an echo") < printed.index("events/s with a p99 of at most 100 ms")
    assert "2,000 events/s were not offered to those that fell behind before: stock Faust" in printed


def test_processor_time_is_of_the_whole_tree_but_for_this_process() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent], **pipes) as process:
        processors = Processors({"tree": process.pid, "this": os.getpid()})
        before = processors.seconds()
        assert process.stdout is not None
        process.stdout.readline()
        since = processors.since(before)
        process.communicate(b"\n")
    assert since["tree"] >= 0.25
    assert since["this"] < 0.2


def test_a_client_on_librdkafka_connects_as_the_settings_say() -> None:
    options: dict[str, Any] = {"security_protocol": "SASL_SSL", "ssl_cafile": "/ca.pem", "ssl_check_hostname": False}
    login: dict[str, Any] = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "admin", "sasl_password": "secret"}
    assert connection(Settings(brokers="here:1", **options, **login)) == {
        "bootstrap.servers": "here:1",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca.pem",
        "ssl.key.password": "",
        "ssl.endpoint.identification.algorithm": "none",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "admin",
        "sasl.password": "secret",
    }
    assert connection(Settings(brokers="here:1")) == {"bootstrap.servers": "here:1", "security.protocol": "PLAINTEXT"}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_is_of_settings_that_there_are(variant: Variant) -> None:
    changed = Settings(**variant.changes)
    assert variant.secured or variant.profiled or changed != Settings()


def test_a_batch_is_a_share_of_the_events_between_two_looks() -> None:
    batches = Batches(60, 0.5).since(Batches(10, 0.3))
    assert per_batch(batches, 1000) == {"events": 20, "ms": pytest.approx(4)}
    assert per_batch(Batches().since(Batches()), 1000) == {}
