"""How good purchase probabilities are on a log."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.probability_quality import ProbabilityQuality, probability_quality
from model.network.calibration import Calibration
from model.network.purchase_features import purchase_features_of
from model.network.purchase_head import PurchaseHead, purchase_logits

_LEAST: Final = 1e-6  # probability that a log-loss counts for what came: none is infinite


class PurchaseLosses(NamedTuple):
    """The log-losses of probabilities of a purchase soon, M of them, in nats."""

    owners: NDArray[np.int64]  # (M,) users, as indices into the sequences
    bought: NDArray[np.bool_]  # (M,) whether the purchase came
    losses: NDArray[np.float64]  # (M,) of a version
    rules_losses: NDArray[np.float64]  # (M,) of the rules


def labelled_from(sequences: Sequences, cut: int) -> NDArray[np.int64]:
    """Returns the positions (M,), at or after `cut` (ms), of which it is known whether a purchase came soon."""
    labelled: NDArray[np.int64] = np.flatnonzero(
        (sequences.times >= cut) & sequences.purchase_known & sequences.ends_event
    )
    return labelled


def log_losses(probabilities: NDArray[np.floating], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the log-losses (M,) of probabilities (M,) of a yes, in nats."""
    likely = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return -np.log(np.where(labels, likely, 1 - likely))


def purchase_quality(
    head: PurchaseHead, vocabulary: Vocabulary, calibration: Calibration, sequences: Sequences, *, cut: int
) -> ProbabilityQuality | None:
    """Measures the probabilities after events at or after `cut` (ms); None unless labels are of both kinds."""
    positions = labelled_from(sequences, cut)
    predicted = probabilities(head, vocabulary, calibration, sequences, positions).astype(np.float64)
    return probability_quality(predicted, sequences.purchase_soon[positions], sequences.users_at(positions))


def probabilities(
    head: PurchaseHead,
    vocabulary: Vocabulary,
    calibration: Calibration,
    sequences: Sequences,
    positions: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Returns probabilities (N,) of a purchase within the horizon, right after the actions at positions (N,)."""
    logits = purchase_logits(head, purchase_features_of(sequences, vocabulary, positions))
    return calibration.probabilities(torch.from_numpy(logits)).numpy()
