"""The benchmarks' own arithmetic: a load that hides no stall, percentiles that hide no loss, ratios and verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from stream_app.settings import Settings, load_settings
from tests.bench.compare import Ratio, in_turn, show
from tests.bench.open_loop import on_schedule, percentiles
from tests.bench.streams import own_topics


class Clock:
    """Goes on only while somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 0.0

    async def pass_by(self, seconds: float) -> None:
        self.now += seconds


def sent_at(stalls: dict[int, float], count: int = 6) -> list[float]:
    """When each of `count` records at 10 per second was sent, where some sends take so many seconds."""
    clock, times = Clock(), list[float]()

    async def send(number: int) -> None:
        times.append(clock.now)
        await clock.pass_by(stalls.get(number, 0.0))

    asyncio.run(on_schedule(send, count, 10.0, start=1.0, clock=lambda: clock.now, sleep=clock.pass_by))
    return times


def test_records_are_sent_when_they_are_due() -> None:
    assert sent_at({}) == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


def test_a_stall_moves_no_due_time() -> None:
    assert sent_at({1: 0.25}) == pytest.approx([1.0, 1.1, 1.35, 1.35, 1.4, 1.5])


def test_percentiles_are_values_that_occurred() -> None:
    thousand = np.random.default_rng(1).permutation(np.arange(1, 1001)) / 1000
    assert percentiles(thousand) == {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}
    assert percentiles(np.array([0.001, 0.003, 0.002])) == {"p50": 2, "p90": 3, "p99": 3, "p99.9": 3}


def test_a_lost_event_is_as_late_as_can_be() -> None:
    assert percentiles(np.array([0.001] * 98 + [np.inf] * 2)) == {"p50": 1, "p90": 1, "p99": np.inf, "p99.9": np.inf}


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def run(name: str) -> Callable[[], float]:
        def called() -> float:
            calls.append(name)
            return float(len(calls))

        return called

    assert in_turn({"peer": run("peer"), "ours": run("ours")}, 2, said=False) == {"peer": [3, 5], "ours": [4, 6]}
    assert calls == ["peer", "ours"] * 3


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Ratio("ours", "peer", least=3.0), "reached: at least 3"),
        (Ratio("ours", "peer", least=3.5), "MISSED: at least 3.5"),
        (Ratio("peer", "ours", most=0.5), "reached: at most 0.5"),
        (Ratio("peer", "ours", most=0.3), "MISSED: at most 0.3"),
        (Ratio("ours", "peer"), ""),
    ],
)
def test_a_ratio_is_of_medians_and_told_by_what_was_wanted(ratio: Ratio, verdict: str) -> None:
    figures = {"peer": [100.0, 10.0, 1.0], "ours": [30.0, 31.0, 1000.0]}
    value = ratio.value(figures)
    assert value == pytest.approx(3.1 if ratio.of == "ours" else 1 / 3.1)
    assert ratio.verdict(value) == verdict


def test_ratios_come_first_and_those_of_who_did_not_run_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"peer": [10.0, 20.0, 30.0], "ours": [50.0, 40.0, 60.0]}
    shown = show(figures, "events/s", (Ratio("ours", "peer", least=2), Ratio("ours", "absent", least=9)))
    assert shown["ratios"] == [{"of": "ours", "to": "peer", "ratio": 2.5}]
    assert shown["figures"]["ours"] == {"median": 50, "runs": [50, 40, 60]}
    assert capsys.readouterr().out.split("\n")[1].split() == [
        "2.5",
        "x",
        "ours",
        ":",
        "peer",
        "reached:",
        "at",
        "least",
        "2",
    ]


def test_without_wishes_all_are_compared_with_the_first() -> None:
    shown = show({"peer": [2.0], "a": [4.0], "b": [1.0]}, "seconds")
    assert [(pair["of"], pair["ratio"]) for pair in shown["ratios"]] == [("a", 2.0), ("b", 0.5)]


def test_what_is_off_by_default_is_off_in_a_benchmark() -> None:
    defaults, measured = Settings(), load_settings(own_topics("bench-1"))
    topics = [name for name in Settings.model_fields if name.endswith("_topic")]
    assert (
        {name for name in topics if not getattr(measured, name)}
        == {name for name in topics if not getattr(defaults, name)}
        >= {"signals_topic", "profile_topic", "predictions_latest_topic"}
    )
    assert all(getattr(measured, name).startswith("bench-1.") for name in topics if getattr(measured, name))
