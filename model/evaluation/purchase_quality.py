"""How good purchase probabilities are on a log."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.probability_quality import ProbabilityQuality, probability_quality
from model.network.calibration import Calibration
from model.network.purchase_features import purchase_features_of
from model.network.purchase_head import PurchaseHead, purchase_logits


def purchase_quality(
    head: PurchaseHead, vocabulary: Vocabulary, calibration: Calibration, sequences: Sequences, *, cut: int
) -> ProbabilityQuality | None:
    """How good the probabilities after actions at or after `cut` (ms) are; None if none or all come true."""
    places = np.flatnonzero((sequences.times >= cut) & sequences.purchase_known)
    found = probabilities(head, vocabulary, calibration, sequences, places)
    return probability_quality(found.astype(np.float64), sequences.purchase_soon[places], sequences.users_at(places))


def probabilities(
    head: PurchaseHead,
    vocabulary: Vocabulary,
    calibration: Calibration,
    sequences: Sequences,
    places: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Of a purchase within the horizon, right after the actions at some places (N,)."""
    logits = purchase_logits(head, purchase_features_of(sequences, vocabulary, places))
    return calibration.probabilities(torch.from_numpy(logits)).numpy()
