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
    """Measures the probabilities after events at or after `cut` (ms); None unless labels are of both kinds."""
    positions = np.flatnonzero((sequences.times >= cut) & sequences.purchase_known & sequences.ends_event)
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
