"""How good scores are on a log: whether they single out who leaves or comes back, and whether they are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.recent import recent_at
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.probability_quality import ProbabilityQuality, probability_quality
from model.profile.fitted_scores import Scores
from model.profile.rhythm import rhythms_at
from model.profile.scores import ScoreAnswers, ScoreHeads
from model.profile_fit.score_labels import Labels, leave_labels, return_labels

_TOP: Final = 10  # the best tenth is what a shop would write to


@dataclass(frozen=True, slots=True)
class ScoreQuality:
    """The figures of one score."""

    probability: ProbabilityQuality
    lift: float  # how much more often it came true in the tenth with the highest scores than in all


@dataclass(frozen=True, slots=True)
class ScoreQualities:
    """The figures of a version's scores; None: it has none, or the log cannot tell."""

    leave: ScoreQuality | None
    returns: ScoreQuality | None


def scores_quality(scores: Scores, vocabulary: Vocabulary, sequences: Sequences, cut: int) -> ScoreQualities:
    """Measures the scores after events at or after `cut` (ms)."""
    leave, returns = leave_labels(sequences), return_labels(sequences)
    heads, positions = ScoreHeads(scores), judged_from(sequences, leave, cut)
    of_leave = score_quality(answers_at(heads, vocabulary, sequences, positions).leave, sequences, leave, positions)
    positions = judged_from(sequences, returns, cut)
    found = answers_at(heads, vocabulary, sequences, positions).returns
    of_returns = None if found is None else score_quality(found, sequences, returns, positions)
    return ScoreQualities(of_leave, of_returns)


def judged_from(sequences: Sequences, labels: Labels, cut: int) -> NDArray[np.int64]:
    """Returns the positions (N,), at or after `cut` (ms), whose labels are known."""
    return np.flatnonzero(labels.known & (sequences.times >= cut))


def answers_at(
    heads: ScoreHeads, vocabulary: Vocabulary, sequences: Sequences, positions: NDArray[np.int64]
) -> ScoreAnswers:
    """Returns the scores right after the actions at positions (N,), which must rise."""
    recent, rhythms = recent_at(sequences, vocabulary, positions), rhythms_at(sequences, positions)
    return heads.answer(recent, rhythms, sequences.times[positions])


def score_quality(
    found: NDArray[np.floating], sequences: Sequences, labels: Labels, positions: NDArray[np.int64]
) -> ScoreQuality | None:
    """Measures probabilities (N,) after the actions at positions (N,); None unless labels are of both kinds."""
    came, predicted = labels.came[positions], found.astype(np.float64)
    quality = probability_quality(predicted, came, sequences.users_at(positions))
    return None if quality is None else ScoreQuality(quality, top_lift(predicted, came))


def top_lift(predicted: NDArray[np.float64], came: NDArray[np.bool_]) -> float:
    """Returns how much more often it came in the tenth with the highest probabilities; of equal ones the first."""
    best = np.argsort(-predicted, kind="stable")[: max(1, len(came) // _TOP)]
    return float(came[best].mean() / came.mean())
