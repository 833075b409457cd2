"""What a worker exports of the questions that it is asked."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

OTHER: Final = "other"  # stands for every path that there is not
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds


class QuestionMetrics:
    """The counter and the histogram of questions; every thread may use them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._questions = Counter(
            "nextact_questions", "Questions over HTTP, by path and status", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "nextact_question_seconds",
            "From a question's headers to its answer, by path",
            ["path"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._series: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # by path and status

    def note(self, path: str, status: int, seconds: float) -> None:
        """Counts a question; `path` is one of the contract, or OTHER."""
        known = self._series.get((path, status))
        if known is None:
            known = self._questions.labels(path, str(status)), self._seconds.labels(path)
            self._series[path, status] = known
        count, duration = known
        count.inc()
        duration.observe(seconds)
