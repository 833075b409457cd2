"""The purchase head on a log: fitted, calibrated, and measured as it is served.

Every action of a log is an example, as an answer follows each, the user's last one too; its label is
`Sequences.purchase_soon`. Only those count, in the fit and in what is measured, whose horizon ended before the log did.
Shapes: A actions, N examples, F facts.
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

FOLDS: Final = 3
_MOST: Final = 500_000  # examples to learn from; of more, the newest
_ROOM_OF_EXAMPLE: Final = 4  # actions: an example takes as much memory as these


def fit_purchases(
    head: PurchaseHead,
    vocabulary: Vocabulary,
    log: EventLog,
    config: PurchaseConfig = PurchaseConfig(),  # noqa: B008
    *,
    seed: int,
) -> Calibration:
    """Fits the head anew to all actions, in place; the calibration is fitted to users that it had not learned from.

    Other users and not the newest time alone: how many buy hangs on the hour.
    """
    most = min(_MOST, log.room // _ROOM_OF_EXAMPLE)
    sequences = active_sequences(log, log.newest(min(1.0, most / max(1, len(log)))))
    known = np.flatnonzero(sequences.purchase_known)
    places = np.sort(known[np.argsort(sequences.times[known], kind="stable")[-most:]])
    habits, labels = purchase_features_of(sequences, vocabulary, places), sequences.purchase_soon[places]
    folds = sequences.users_at(places) % FOLDS
    logits = np.zeros(len(places), np.float32)
    for fold in range(FOLDS):
        left_out = folds == fold
        fit_purchase_head(head, habits[~left_out], labels[~left_out], config, seed=seed)
        logits[left_out] = purchase_logits(head, habits[left_out])
    fit_purchase_head(head, habits, labels, config, seed=seed)
    return fit_calibration(torch.from_numpy(logits), torch.from_numpy(labels))
