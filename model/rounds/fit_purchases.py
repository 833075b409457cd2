"""Fits the purchase head to a log, and calibrates it.

The last action of every event of a log is an example, the user's last one too, as a prediction follows each; its label
is `Sequences.purchase_soon`. Only those are used whose horizon ended before the log did.
Shapes: A actions, N examples, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from model.data.event_log import EventLog, active_sequences
from model.data.vocabulary import Vocabulary
from model.network.calibration import Calibration, fit_calibration
from model.network.purchase_features import purchase_features_of
from model.network.purchase_head import PurchaseConfig, PurchaseHead, fit_purchase_head, purchase_logits

FOLDS: Final = 3  # of the users, for cross-validation
_MOST: Final = 500_000  # examples to learn from; of more, the newest
_ACTIONS_PER_EXAMPLE: Final = 4  # an example takes as much memory as so many actions


def fit_purchases(
    head: PurchaseHead,
    vocabulary: Vocabulary,
    log: EventLog,
    config: PurchaseConfig = PurchaseConfig(),  # noqa: B008
    *,
    seed: int,
) -> Calibration:
    """Fits the head from scratch, in place; fits and returns the calibration on users it had not learned from.

    Other users and not only a later time, because how many buy depends on the hour.
    """
    most = min(_MOST, log.room // _ACTIONS_PER_EXAMPLE)
    sequences = active_sequences(log, log.newest(min(1.0, most / max(1, len(log)))))
    known = np.flatnonzero(sequences.purchase_known & sequences.ends_event)
    examples = np.sort(known[np.argsort(sequences.times[known], kind="stable")[-most:]])
    features, labels = purchase_features_of(sequences, vocabulary, examples), sequences.purchase_soon[examples]
    folds = sequences.users_at(examples) % FOLDS
    logits = np.zeros(len(examples), np.float32)
    for fold in range(FOLDS):
        left_out = folds == fold
        fit_purchase_head(head, features[~left_out], labels[~left_out], config, seed=seed)
        logits[left_out] = purchase_logits(head, features[left_out])
    fit_purchase_head(head, features, labels, config, seed=seed)
    return fit_calibration(torch.from_numpy(logits), torch.from_numpy(labels))
