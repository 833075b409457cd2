"""Scores: how likely a user is to leave now, and to come back, by small heads that a version brings.

Leaving is foreseen from the last actions, as a purchase is, coming back from the user's rhythm. A head has the form of
the purchase head; where a log was too short to fit one, the score is the rate that the log had.
Shapes: N answers, R rows of features, H hidden units.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import SESSION_GAP_MS
from model.data.recent import RecentActions
from model.kernels.compiled import Floats, compiled, uncounted
from model.network.purchase_features import NUM_FEATURES, ROWS, fill_features
from model.profile.fitted_scores import Score, Scores
from model.profile.rhythm import Rhythms
from model.profile.rhythm_features import NUM_RHYTHM_FEATURES, RHYTHM_ROWS, fill_rhythm_features

LEFT_AFTER_MS: Final = SESSION_GAP_MS  # without an action: a user has left
RETURNS_WITHIN_MS: Final = 7 * 24 * 3_600_000  # of a visit's end: a user has come back


class _Layers(NamedTuple):
    """A head for compiled loops."""

    table: Floats  # (R, H)
    biases: Floats  # (H,)
    last: Floats  # (H,)
    linear: Floats  # (R,)
    bias: np.float32
    slope: np.float32
    intercept: np.float32


class ScoreAnswers(NamedTuple):
    """The scores of N answers, calibrated probabilities."""

    leave: Floats  # (N,)
    returns: Floats | None  # (N,)


class ScoreHeads:
    """The heads of a version's scores, ready to answer."""

    def __init__(self, scores: Scores) -> None:
        """Raises ValueError for heads of other features."""
        self._leave = _layers(scores.leave, ROWS)
        self._returns = None if scores.returns is None else _layers(scores.returns, RHYTHM_ROWS)

    def answer(self, recent: RecentActions, rhythms: Rhythms | None, times: NDArray[np.int64]) -> ScoreAnswers:
        """Answers from last actions, rhythms (N,) and the users' clocks (N,), ms; None: nobody keeps rhythms."""
        leave, returns = np.empty(len(times), np.float32), None
        _fill_leave(recent, self._leave, leave)
        if self._returns is not None and rhythms is not None:
            returns = np.empty(len(times), np.float32)
            _fill_returns(rhythms, times, self._returns, returns)
        return ScoreAnswers(leave, returns)


def _layers(score: Score, rows: int) -> _Layers:
    """Returns the weights of a score's head; of one without a head such that always give its rate.

    Raises ValueError for a head of other features.
    """
    head = score.head
    if head is None:
        nothing, rate = np.zeros(1, np.float32), min(max(score.rate, 1e-6), 1 - 1e-6)
        line = np.float32(math.log(rate / (1 - rate))), np.float32(1), np.float32(0)
        return _Layers(np.zeros((rows, 1), np.float32), nothing, nothing, np.zeros(rows, np.float32), *line)
    if len(head.linear) != rows:
        raise ValueError(f"a score's head has weights for {len(head.linear)} rows of features, not {rows}")
    return _Layers(
        table=np.array(head.table, np.float32),
        biases=np.array(head.biases, np.float32),
        last=np.array(head.last, np.float32),
        linear=np.array(head.linear, np.float32),
        bias=np.float32(head.bias),
        slope=np.float32(head.slope),
        intercept=np.float32(head.intercept),
    )


@compiled
def _fill_leave(recent: RecentActions, head: _Layers, probabilities: Floats) -> None:
    features, units = np.empty(NUM_FEATURES, np.int32), np.empty(len(head.biases), np.float32)
    for n in range(len(probabilities)):
        fill_features(recent, n, features)
        probabilities[n] = _probability(features, head, units)


@compiled
def _fill_returns(rhythms: Rhythms, times: NDArray[np.int64], head: _Layers, probabilities: Floats) -> None:
    features, units = np.empty(NUM_RHYTHM_FEATURES, np.int32), np.empty(len(head.biases), np.float32)
    for n in range(len(probabilities)):
        fill_rhythm_features(rhythms, n, times[n], features)
        probabilities[n] = _probability(features, head, units)


@uncounted
def _probability(features: NDArray[np.int32], head: _Layers, units: Floats) -> np.float32:
    """Returns the probability for features, as rows; `units` (H,) are memory for it."""
    for h in range(len(units)):
        units[h] = head.biases[h]
    logit = head.bias
    for row in features:
        logit += head.linear[row]
        for h in range(len(units)):
            units[h] += head.table[row, h]
    for h in range(len(units)):
        logit += head.last[h] * max(units[h], np.float32(0))
    line = head.slope * logit + head.intercept
    return np.divide(np.float32(1), np.float32(1) + np.exp(-line))  # type: ignore[no-any-return]
