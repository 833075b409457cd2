"""Searches the highest rate that holds: by doubling, then by bisection. Knows nothing of streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rates are tried from `lowest` to `highest`, until one that holds and one that does not are as close as this."""

    lowest: float
    highest: float
    resolution: float  # the higher one by the lower one


def highest_held(verdicts: Mapping[float, bool]) -> float:
    """Returns the highest rate that held, 0.0 where none did; a lower one that failed does not count against it."""
    return max((rate for rate, held in verdicts.items() if held), default=0.0)


def failed_above(verdicts: Mapping[float, bool]) -> float | None:
    """Returns the lowest rate that failed above the highest that held; None where all above it were left untried."""
    held = highest_held(verdicts)
    return min((rate for rate, holds in verdicts.items() if not holds and rate > held), default=None)


def next_rate(verdicts: Mapping[float, bool], bounds: Bounds) -> float | None:
    """Returns the rate to try next, by the verdicts on those that were tried; None when there is nothing to find out.

    Above the highest one that held it doubles until one fails, below the lowest that failed it halves until one
    holds, and between the two it tries their geometric mean.
    """
    held, failed = highest_held(verdicts), failed_above(verdicts)
    if failed is None:
        doubled = min(2 * held, bounds.highest) if held else bounds.lowest
        return doubled if doubled > held else None
    if not held:
        halved = max(failed / 2, bounds.lowest)
        return halved if halved < failed else None
    middle = float(f"{sqrt(held * failed):.2g}")
    return middle if failed / held > bounds.resolution and held < middle < failed else None
