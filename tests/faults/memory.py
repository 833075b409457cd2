"""Whether a process's memory is flat: what it holds after its warm-up against what it holds at its end."""

from __future__ import annotations

from statistics import median

import psutil

WARM_UP_S = 15.0  # after it was ready: caches, pools and compiled kernels have their size then
SHORTEST_S = 30.0  # of a life that says anything
CALM_MB = 8.0  # of growth without faults: less than half a kilobyte per event of that row
TOLERANCE_MB = 128.0  # of growth with faults: batches while catching up are a hundred times as large as before


class Footprint:
    """Resident memory of one process over its time."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._megabytes: list[float] = []

    @property
    def ready(self) -> bool:
        """Whether it was weighed before."""
        return bool(self._times)

    def weigh(self, pid: int, now: float) -> None:
        """Adds a sample; a process that has just ended gives none."""
        try:
            self._megabytes.append(psutil.Process(pid).memory_info().rss / 2**20)
            self._times.append(now)
        except psutil.Error:
            return

    def growth_mb(self) -> float | None:
        """Median of the last five samples less median of the five after the warm-up; None for a short life."""
        if not self._times or self._times[-1] - self._times[0] < SHORTEST_S:
            return None
        warm = next(place for place, time in enumerate(self._times) if time - self._times[0] >= WARM_UP_S)
        return median(self._megabytes[-5:]) - median(self._megabytes[warm : warm + 5])


def growth(footprints: list[Footprint]) -> float | None:
    """The largest growth in MiB among processes that lived long enough; None if none did."""
    grown = [found for footprint in footprints if (found := footprint.growth_mb()) is not None]
    return round(max(grown), 1) if grown else None
