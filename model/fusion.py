"""The ranking that is served: the network and the evidence of the log together, weighed by the combiner.

Constant time per answer, whatever the length of the history: the last RECENT actions, a bounded number of candidates.
Shapes: N answers, k ranked items, I items of the catalogue.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.candidates import Candidates, NetworkBest, Recent, collect, marks, room
from model.combiner import Combiner
from model.evidence import Evidence

_ANSWERS: Final = 64  # at once: few calls, and what they take stays in the processor's caches


class Fusion:
    """Evidence and combiner of one version. Not for two threads at once."""

    def __init__(self, evidence: Evidence, combiner: Combiner) -> None:
        self.evidence = evidence
        self.combiner = combiner
        self._marks = marks(len(evidence.popularity))
        self._room = room(_ANSWERS)  # kept from call to call: fresh memory costs as much as filling it

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
        for start in range(0, n, _ANSWERS):
            part = slice(start, start + _ANSWERS)
            kept = _first(self._room, n - start)
            candidates = collect(_answers(recent, part), _bests(best, part), self.evidence, self._marks, kept)
            scores = self.score(candidates)
            total = torch.logaddexp(scores.logsumexp(1, keepdim=True), self.combiner.outside)
            highest, places = scores.topk(k)
            log_probabilities[part] = (highest - total).numpy()
            items[part] = np.take_along_axis(candidates.items, places.numpy(), 1)
        return items, log_probabilities

    def score(self, candidates: Candidates) -> Tensor:
        """Scores (N, C) of candidates, minus infinity where there is none; C is the most that one answer has."""
        most = int(candidates.counts.max(initial=0))
        scores = self.combiner(torch.from_numpy(candidates.features[:, :most]))
        return scores.masked_fill_(  # type: ignore[no-any-return]
            torch.from_numpy(np.arange(most) >= candidates.counts[:, None]), float("-inf")
        )


def _first(room: Candidates, answers: int) -> Candidates:
    return Candidates(room.items[:answers], room.features[:answers], room.counts[:answers])


def _answers(recent: Recent, part: slice) -> Recent:
    return recent._replace(starts=recent.starts[part], stops=recent.stops[part])


def _bests(best: NetworkBest, part: slice) -> NetworkBest:
    return NetworkBest(best.items[part], best.log_probabilities[part], best.queries[part], best.vectors)
