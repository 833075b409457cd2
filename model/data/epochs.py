"""How often a fit goes through its examples."""

from __future__ import annotations


def epochs_over(examples: int, wanted: int, *, least: int = 1, most: int) -> int:
    """Returns the epochs that go through about `wanted` examples in all: the fewer there are, the more epochs."""
    return min(most, max(least, round(wanted / max(1, examples))))
