"""Fits the heads of the scores to a log, and calibrates them on the newer part of it.

The last action of every event is an example. A head is calibrated by what it says of users whom it had not learned
from, and of these by the newest examples: how many leave or come back moves with the season.
Shapes: A actions, N examples, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.event_log import EventLog, active_sequences
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.network.calibration import fit_calibration
from model.network.purchase_features import ROWS, purchase_features_of
from model.network.purchase_head import PurchaseConfig, PurchaseHead, fit_purchase_head, purchase_logits
from model.profile.fitted_scores import Score, ScoreHead, Scores
from model.profile.rhythm import rhythms_at
from model.profile.rhythm_features import RHYTHM_ROWS, rhythm_features
from model.profile_fit.score_labels import Labels, leave_labels, return_labels

HIDDEN: Final = 16  # units of a head; 32 foresee no better
FOLDS: Final = 3  # of the users, for cross-validation
LEAST_SPAN_MS: Final = 14 * 24 * 3_600_000  # of a log, to tell who comes back within a week
LEAST_EXAMPLES: Final = 500  # for a head
LEAST_OF_A_KIND: Final = 50  # of these, who did and who did not
_MOST: Final = 200_000  # examples to learn from; of more, the newest
_ACTIONS_PER_EXAMPLE: Final = 4  # an example takes as much memory as so many actions
_DIGITS: Final = 5  # of a weight, behind the point

Features = Callable[[Sequences, NDArray[np.int64]], NDArray[np.int32]]  # (N, F) after the actions at positions (N,)


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """How one score is fitted."""

    features: Features
    rows: int  # of all features
    newest: float  # share of the examples that the head is calibrated by


def leave_kind(vocabulary: Vocabulary) -> ScoreKind:
    """Returns how leaving is foreseen: from the last actions."""
    return ScoreKind(lambda sequences, at: purchase_features_of(sequences, vocabulary, at), ROWS, newest=0.5)


RETURN_KIND: Final = ScoreKind(
    lambda sequences, at: rhythm_features(rhythms_at(sequences, at), sequences.times[at]), RHYTHM_ROWS, newest=0.3
)


def fit_scores(vocabulary: Vocabulary, log: EventLog, *, seed: int) -> Scores:
    """Fits the scores to a log; that of coming back only where the log lasts for two weeks."""
    most = min(_MOST, log.room // _ACTIONS_PER_EXAMPLE)
    sequences = active_sequences(log, log.newest(min(1.0, most / max(1, len(log)))))
    since, until = log.span
    returns = None
    if until - since >= LEAST_SPAN_MS:
        returns = fit_score(RETURN_KIND, sequences, return_labels(sequences), most, seed=seed)
    return Scores(fit_score(leave_kind(vocabulary), sequences, leave_labels(sequences), most, seed=seed), returns)


def fit_score(kind: ScoreKind, sequences: Sequences, labels: Labels, most: int, *, seed: int) -> Score:
    """Fits a score to the newest `most` actions whose labels are known."""
    known = np.flatnonzero(labels.known)
    examples = np.sort(known[np.argsort(sequences.times[known], kind="stable")[-most:]])
    came = labels.came[examples]
    rate = float((came.sum() + 1) / (len(came) + 2))
    if len(came) < LEAST_EXAMPLES or min(came.sum(), (~came).sum()) < LEAST_OF_A_KIND:
        return Score(rate)
    features, folds = kind.features(sequences, examples), sequences.users_at(examples) % FOLDS
    head, logits = PurchaseHead(kind.rows, HIDDEN), np.zeros(len(examples), np.float32)
    for fold in range(FOLDS):
        left_out = folds == fold
        fit_purchase_head(head, features[~left_out], came[~left_out], PurchaseConfig(), seed=seed)
        logits[left_out] = purchase_logits(head, features[left_out])
    fit_purchase_head(head, features, came, PurchaseConfig(), seed=seed)
    times = sequences.times[examples]
    newest = times >= np.quantile(times, 1 - kind.newest, method="higher")
    line = fit_calibration(torch.from_numpy(logits[newest]), torch.from_numpy(came[newest]))
    return Score(rate, _weights(head, line.slope, line.intercept))


def _weights(head: PurchaseHead, slope: float, intercept: float) -> ScoreHead:
    return ScoreHead(
        table=_rounded(head.table.weight),
        biases=_rounded(head.bias),
        last=_rounded(head.last.weight[0]),
        linear=_rounded(head.linear.weight[:, 0]),
        bias=float(head.last.bias.item()),
        slope=slope,
        intercept=intercept,
    )


def _rounded(weights: torch.Tensor) -> Any:
    """Returns weights as lists of numbers, as many deep as they have dimensions."""
    return np.round(weights.detach().cpu().double().numpy(), _DIGITS).tolist()
