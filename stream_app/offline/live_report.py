"""What a live run of a log reached, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.evaluation.gate import Difference
from model.evaluation.live_scores import LiveScores
from model.evaluation.ranking import LIST_SIZE, Ranking
from stream_app.offline.text_table import table

NAMES: Final = {
    "known": "users who were there before",
    "new": "users who came in the test",
    "untouched": "items that nobody had touched",
    "born_own": "items of the test, the user's own",
    "born_not_own": "items of the test, of others",
    "other": "all other items",
}
_COLUMNS: Final = ("targets", "share", "Recall@20", "MRR@20", "rules: Recall@20", "MRR@20")


@dataclass(frozen=True, slots=True)
class LiveReport:
    """The scores of a live run, of the model and of rules that learned as the log passed."""

    model: str  # its name
    scores: LiveScores
    lag: float  # seconds that statistics were late

    def lines(self) -> Iterator[str]:
        """Yields the lines for a terminal."""
        scores = self.scores
        rows = {"all": self._cells()} | {NAMES[name]: self._cells(mask) for _, name, mask in scores.slices()}
        yield from table(_COLUMNS, rows, f"live, {self.model}")
        recall, mrr = scores.gains()
        late = f"; statistics {self.lag:g} s late" if self.lag else ""
        yield (
            f"Live: each event scores the answer before it, and then all learn from it{late}. Ahead of the rules, "
            f"which learn too, by {_points(recall)} in Recall@20 and {_points(mrr)} in MRR@20. "
            f"Nobody could reach more than {100 * scores.ceiling:.2f}: the other items had never been seen."
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values; shares are from 0 to 1, not per cent."""
        scores = self.scores
        slices: dict[str, dict[str, Any]] = {"users": {}, "targets": {}}
        for kind, name, mask in scores.slices():
            slices[kind][name] = self._numbers(mask)
        recall, mrr = scores.gains()
        gains = {"recall_at_20": _rounded(recall), "mrr_at_20": _rounded(mrr)}
        return self._numbers() | {"ceiling": round(scores.ceiling, 6), "lag": self.lag, "gain": gains} | slices

    def _cells(self, subset: NDArray[np.bool_] | None = None) -> tuple[str, ...]:
        count = len(self.scores) if subset is None else int(subset.sum())
        figures = [value for means in self.scores.means(subset) for value in _figures(means)]
        return f"{count:,}", *(f"{100 * value:.2f}" for value in (count / len(self.scores), *figures))

    def _numbers(self, subset: NDArray[np.bool_] | None = None) -> dict[str, dict[str, float]]:
        count = len(self.scores) if subset is None else int(subset.sum())
        both = zip(("model", "rules"), self.scores.means(subset), strict=True)
        return {name: _named(means) | {"targets": count} for name, means in both}


def _figures(means: Ranking) -> tuple[float, float]:
    return means.recall[LIST_SIZE], means.mrr[LIST_SIZE]


def _named(means: Ranking) -> dict[str, float]:
    recall, mrr = _figures(means)
    return {"recall_at_20": round(recall, 6), "mrr_at_20": round(mrr, 6)}


def _rounded(gain: Difference) -> dict[str, float]:
    return {name: round(value, 6) for name, value in gain._asdict().items() if np.isfinite(value)}


def _points(gain: Difference) -> str:
    mean, low, high = (100 * value for value in gain)
    return f"{mean:+.2f} points ({low:+.2f} to {high:+.2f})"
