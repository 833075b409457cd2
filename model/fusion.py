"""The ranking that is served: the network and the evidence of the log together, weighed by the combiner.

Constant time per answer, whatever the length of the history: the last RECENT actions, a bounded number of candidates.
Shapes: N answers, T candidates of all of them, k ranked items, I items of the catalogue.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import shortlist
from model.candidates import Candidates, NetworkBest, Recent, collect, marks, room
from model.combiner import Combiner
from model.evidence import Evidence

_ANSWERS: Final = 32  # at once: few calls, and what they take stays in the processor's caches


class Fusion:
    """Evidence and combiner of one version. Not for two threads at once."""

    def __init__(self, evidence: Evidence, combiner: Combiner) -> None:
        self.evidence = evidence
        self.combiner = combiner
        self._marks = marks(len(evidence.popularity))
        self._room = room(_ANSWERS)  # kept from call to call: fresh memory costs as much as filling it

    def for_another_thread(self) -> Fusion:
        """The same evidence and combiner, with room of its own."""
        return Fusion(self.evidence, self.combiner)

    def collect(self, recent: Recent, best: NetworkBest) -> Candidates:
        """Candidates of N answers, with their features."""
        return collect(recent, best, self.evidence, self._marks)

    @torch.inference_mode()
    def rank(self, recent: Recent, best: NetworkBest, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best items of N answers, best first, and their log-probabilities, (N, k) each.

        Probabilities are of the next action on an item, all items that are no candidates included. k is cut to the
        size of the catalogue, and at most as many as the network named.
        """
        n, k = len(recent.starts), min(k, best.items.shape[1])
        items, log_probabilities = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
        outside = float(self.combiner.outside)
        for start in range(0, n, _ANSWERS):
            part = slice(start, start + _ANSWERS)
            candidates = collect(recent.part(part), best.part(part), self.evidence, self._marks, self._room)
            scores = self.score(candidates).numpy()
            shortlist.highest(scores, candidates.starts, outside, items[part], log_probabilities[part])
            items[part] = candidates.items[items[part]]
        return items, log_probabilities

    def score(self, candidates: Candidates) -> Tensor:
        """Scores of candidates, (T,)."""
        scores: Tensor = self.combiner(torch.from_numpy(candidates.features))
        return scores
