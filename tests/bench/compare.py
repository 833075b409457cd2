"""Peers and ours in turn, and what comes of it: ratios first, as machines differ, then medians with their spread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Figures = Mapping[str, Sequence[float]]  # of each contestant, one per counted repeat
Percentiles = Mapping[str, float]  # milliseconds; infinite where answers were lost


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of one contestant by that of another, and what it is to be at least or at most."""

    of: str
    to: str
    least: float | None = None
    most: float | None = None

    def value(self, figures: Figures) -> float:
        """The ratio that the figures have."""
        return median(figures[self.of]) / median(figures[self.to])

    def verdict(self, value: float) -> str:
        """What was wanted and whether it came; empty where nothing was."""
        if self.least is None and self.most is None:
            return ""
        reached = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        wanted = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return f"{'reached' if reached else 'MISSED'}: {wanted}"


def in_turn(contestants: Mapping[str, Callable[[], T]], repeats: int, *, said: bool = True) -> dict[str, list[T]]:
    """What each came to in so many repeats, one after the other in each of them.

    One repeat more goes before them, in which caches fill and loops are compiled; it does not count.
    """
    found: dict[str, list[T]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            came_to = run()
            if repeat:
                found[name].append(came_to)
            if said:
                print(f"  {repeat or 'warm-up'}/{repeats}  {name:45} {_short(came_to)}", flush=True)
    return found


def show(figures: Figures, unit: str, wanted: Sequence[Ratio] = ()) -> dict[str, Any]:
    """Prints a table of figures in `unit` and returns it; by default with ratios to the first contestant."""
    names = list(figures)
    pairs = [pair for pair in wanted if pair.of in figures and pair.to in figures]
    pairs = pairs or [Ratio(name, names[0]) for name in names[1:] if median(figures[names[0]])]
    ratios = [{"of": pair.of, "to": pair.to, "ratio": _rounded(pair.value(figures))} for pair in pairs]
    print()
    for pair in pairs:
        value = pair.value(figures)
        print(f"{value:10.3g} x  {pair.of} : {pair.to}  {pair.verdict(value)}".rstrip())
    print(f"{'median':>12} {'min':>12} {'max':>12}  {unit}")
    for name, values in figures.items():
        print(
            " ".join(f"{_short(value):>12}" for value in (median(values), min(values), max(values))) + f"  {name}",
            flush=True,
        )
    return {"unit": unit, "ratios": ratios, "figures": {name: _row(values) for name, values in figures.items()}}


def show_percentiles(title: str, found: Mapping[str, Sequence[Percentiles]], to: str) -> dict[str, Any]:
    """Prints medians over the repeats, and the ratio of each p99 to that of one contestant; returns the same."""
    medians = {
        name: {key: median(one[key] for one in several) for key in several[0]} for name, several in found.items()
    }
    ratios = {name: round(row["p99"] / medians[to]["p99"], 3) for name, row in medians.items()}
    print(f"\n{'p99':>7} " + " ".join(f"{key:>9}" for key in medians[to]) + f"  milliseconds at {title}")
    for name, row in medians.items():
        figures = " ".join(f"{value:9,.1f}" for value in row.values())
        spread = " ".join(f"{run['p99']:.1f}" for run in found[name])
        print(f"{ratios[name]:6.2f}x {figures}  {name} (p99 of the repeats: {spread})", flush=True)
    return {
        name: {
            "medians": {key: finite(value) for key, value in {**row, "p99_ratio": ratios[name]}.items()},
            "p99_of_the_repeats": [finite(run["p99"]) for run in found[name]],
        }
        for name, row in medians.items()
    }


def finite(value: float) -> float | None:
    """Returns None for what JSON does not have: infinity, and the ratio of two of them."""
    return value if math.isfinite(value) else None


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds that count: of this process on the CPU, whatever else the machine does; all of them for a GPU."""
    if device.type == "cpu":
        return time.process_time

    def waited() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return waited


def seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """What one call takes."""
    start = clock()
    run()
    return clock() - start


def _row(values: Sequence[float]) -> dict[str, Any]:
    return {"median": _rounded(median(values)), "runs": [_rounded(value) for value in values]}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _short(value: object) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
