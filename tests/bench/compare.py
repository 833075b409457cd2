"""Peers and ours in turn, and what comes of it: ratios first, as machines differ, then medians with their spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Figures = Mapping[str, Sequence[float]]  # of each contestant, one per counted repeat


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
    pairs = pairs or [Ratio(name, names[0]) for name in names[1:]]
    ratios = [{"of": pair.of, "to": pair.to, "ratio": _rounded(pair.value(figures))} for pair in pairs]
    print()
    for pair in pairs:
        value = pair.value(figures)
        print(f"{value:10.3g} x  {pair.of} : {pair.to}  {pair.verdict(value)}".rstrip())
    print(f"{'median':>12} {'min':>12} {'max':>12}  {unit}")
    for name, values in figures.items():
        print(f"{median(values):12,.4g} {min(values):12,.4g} {max(values):12,.4g}  {name}", flush=True)
    return {"unit": unit, "ratios": ratios, "figures": {name: _row(values) for name, values in figures.items()}}


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
    return f"{value:,.4g}" if isinstance(value, float) else ""
