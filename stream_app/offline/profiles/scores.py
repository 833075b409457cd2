"""How good scores are, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from model.evaluation.score_quality import ScoreQualities, ScoreQuality, scores_quality
from model.evaluation.split import Split
from model.profile.scores import LEFT_AFTER_MS, RETURNS_WITHIN_MS
from model.profile_fit.fit_scores import fit_scores
from model.rounds.fit_model import Model
from model.versions.version import Version
from stream_app.offline.text_table import table

_COLUMNS: Final = ("answers", "base rate", "mean", "AUROC", "top tenth", "Brier score", "ECE", "by chance")
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class ScoresReport:
    """The figures of each score that the log can tell something of."""

    qualities: ScoreQualities

    def lines(self) -> Iterator[str]:
        """Yields the lines for a terminal."""
        named = {"leaves": self.qualities.leave, "comes back": self.qualities.returns}
        yield from table(_COLUMNS, {name: _cells(each) for name, each in named.items() if each is not None}, "scores")
        yield (
            f"Leaves: does nothing for {LEFT_AFTER_MS // _MINUTE_MS} minutes; comes back: within "
            f"{RETURNS_WITHIN_MS // _DAY_MS} days of a visit's end. Top tenth: how much more often it came true of the "
            "highest scores than of all. ECE: 15 bins of equal width; by chance: what it would be if each were right."
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        named = {"leave": self.qualities.leave, "return": self.qualities.returns}
        return {name: _numbers(each) for name, each in named.items() if each is not None}


def report_scores(model: Version | Model, split: Split, seed: int) -> ScoresReport | None:
    """Measures a model's scores on a split, fitted to what is known where the model has none.

    None: times are made up, or the log ends too early to tell who left.
    """
    if not split.timed:
        return None
    scores = model.profile.scores or fit_scores(model.vocabulary, split.known, seed=seed)
    found = scores_quality(scores, model.vocabulary, split.holdout.sequences, split.cut)
    return ScoresReport(found) if found.leave or found.returns else None


def _cells(quality: ScoreQuality) -> tuple[str, ...]:
    found = quality.probability
    numbers = (found.base_rate, found.mean_probability, found.auroc, quality.lift, found.brier)
    return (
        f"{found.number:,}",
        *(f"{number:.4f}" for number in (*numbers, found.calibration_error, found.calibration_error_by_chance)),
    )


def _numbers(quality: ScoreQuality) -> dict[str, float]:
    named = asdict(quality.probability) | {"top_tenth_lift": quality.lift}
    return {name: round(number, 6) for name, number in named.items()}
