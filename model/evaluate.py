"""Full ranking of held-out next items: the network beside the rules, on the same targets in the same order.

A target ranks behind every item with at least its score: ties count against the model. A target that is not
in the vocabulary, or that the rules do not rank, is a miss. Shapes: N targets, I items, K event types.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.baselines import NO_TYPE, WINDOW, Rules
from model.batches import batches
from model.data import Sequences
from model.events import SEARCH
from model.losses import Targets, targets_of
from model.network import Network
from model.vocabulary import ITEM_BUCKETS, Vocabulary

DEPTHS: Final = (1, 5, 10, 20)
MISSED: Final = np.iinfo(np.int64).max  # the rank of a target that cannot be found
_TOKENS: Final = 8192  # steps of a batch
_SCORES: Final = 16_000_000  # scores held at once


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over N targets, by depth k; a target below depth k adds nothing."""

    recall: dict[int, float]
    mrr: dict[int, float]
    ndcg: dict[int, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well the next actions from the cut on were foreseen."""

    targets: int  # next actions on an item
    network: Ranking
    rules: Ranking
    popularity: Ranking
    steps: int  # next actions of any type
    type_accuracy: float
    type_log_loss: float  # nats
    rules_type_log_loss: float

    def metrics(self) -> dict[str, float]:
        """All numbers by name: `recall@20` of the network, `rules_recall@20`, …"""
        found: dict[str, float] = {}
        for prefix, ranking in (("", self.network), ("rules_", self.rules), ("popularity_", self.popularity)):
            for name in ("recall", "mrr", "ndcg"):
                found |= {f"{prefix}{name}@{k}": value for k, value in getattr(ranking, name).items()}
        for name in ("targets", "steps", "type_accuracy", "type_log_loss", "rules_type_log_loss"):
            found[name] = float(getattr(self, name))
        return found


def evaluate(
    network: Network,
    vocabulary: Vocabulary,
    rules: Rules,
    sequences: Sequences,
    *,
    cut: int,
    device: torch.device,
) -> Evaluation:
    """Ranks every action at or after `cut` (ms) from the actions of its user before it.

    Neither the network nor the rules learn on the way: both know what they knew before the cut.
    """
    late = sequences.has_next & (np.roll(sequences.times, -1) >= cut)
    steps = np.flatnonzero(late) + 1  # places of the next actions
    targets = steps[sequences.types[steps] != SEARCH]
    ranks, log_probabilities, right = _by_network(network, vocabulary, sequences, cut, device)
    by_rules, by_popularity = _by_rules(rules, sequences, set(targets.tolist()))
    return Evaluation(
        targets=len(targets),
        network=ranking(ranks[targets]),
        rules=ranking(by_rules[targets]),
        popularity=ranking(by_popularity[targets]),
        steps=len(steps),
        type_accuracy=_mean(right[steps]),
        type_log_loss=-_mean(log_probabilities[steps]),
        rules_type_log_loss=_types_by_rules(rules, sequences, steps),
    )


def learned_rules(sequences: Sequences) -> Rules:
    """Rules that have seen these sequences, in the order of time."""
    rules = Rules()
    recent: defaultdict[int, deque[int]] = defaultdict(lambda: deque(maxlen=WINDOW))
    users = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets))
    types, before = sequences.types, _types_before(sequences)
    for place in np.argsort(sequences.times, kind="stable").tolist():
        rules.learn_type(int(before[place]), int(types[place]))
        if types[place] != SEARCH:
            item, own = int(sequences.objects[place]), recent[int(users[place])]
            rules.learn(list(own), item, "")
            own.appendleft(item)
    return rules


def ranking(ranks: NDArray[np.int64]) -> Ranking:
    """Metrics of ranks (N,), 1 being the best; NDCG has one relevant item, so it is 1 / log2(1 + rank)."""
    reciprocal, discounted = 1.0 / ranks, 1.0 / np.log2(1.0 + ranks)
    return Ranking(
        recall={k: _mean(ranks <= k) for k in DEPTHS},
        mrr={k: _mean(reciprocal * (ranks <= k)) for k in DEPTHS},
        ndcg={k: _mean(discounted * (ranks <= k)) for k in DEPTHS},
    )


def _by_network(
    network: Network, vocabulary: Vocabulary, sequences: Sequences, cut: int, device: torch.device
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of every action (A,): the rank of its item, the log-probability of its type, whether that was the best.

    Only the entries of predicted actions mean anything.
    """
    ranks = np.full(len(sequences), MISSED)
    log_probabilities = np.zeros(len(sequences))
    right = np.zeros(len(sequences), np.bool_)
    with torch.inference_mode():
        items = network.item_vectors()
        for batch in batches(sequences, tokens=_TOKENS, cut=cut):
            targets = targets_of(batch, vocabulary, device)
            _, vectors = network(vocabulary.tokens(batch.objects, batch.contexts).to(device))
            known = targets.next_known.cpu().numpy()
            ranks[batch.places[known] + 1] = _ranks(network, items, vectors, targets)
            following = batch.places[batch.has_next] + 1
            log_p = F.log_softmax(network.type_logits(vectors[targets.has_next]), -1)
            types = targets.next_types[targets.has_next]
            log_probabilities[following] = log_p.gather(1, types.unsqueeze(1)).squeeze(1).cpu().numpy()
            right[following] = (log_p.argmax(1) == types).cpu().numpy()
    return ranks, log_probabilities, right


def _ranks(network: Network, items: Tensor, vectors: Tensor, targets: Targets) -> NDArray[np.int64]:
    """Ranks of the known targets among all items (I, D), a bounded block of scores at a time."""
    queries = network.queries(vectors[targets.next_known])
    wanted = targets.next_rows[targets.next_known] - ITEM_BUCKETS
    block = max(1, _SCORES // max(1, len(items)))
    ranks = []
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ items.T
        # The target's own score is read from the same product, so it counts exactly once.
        own = scores.gather(1, wanted[start : start + block].unsqueeze(1))
        ranks.append((scores >= own).sum(1).cpu().numpy())
    return np.concatenate(ranks) if ranks else np.zeros(0, np.int64)


def _by_rules(rules: Rules, sequences: Sequences, targets: set[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of actions (A,) by the rules and by popularity alone; MISSED beyond the greatest depth."""
    by_rules = np.full(len(sequences), MISSED)
    by_popularity = np.full(len(sequences), MISSED)
    popular = {item: rank for rank, item in enumerate(rules.popular(DEPTHS[-1]), 1)}
    objects, types = sequences.objects.tolist(), sequences.types.tolist()
    for start, stop in zip(sequences.offsets[:-1].tolist(), sequences.offsets[1:].tolist(), strict=True):
        recent: deque[int] = deque(maxlen=2 * DEPTHS[-1])
        for place in range(start, stop):
            item = objects[place]
            if place in targets:
                by_rules[place] = _place_in(rules.rank(recent, DEPTHS[-1]), item)
                by_popularity[place] = popular.get(item, MISSED)
            if types[place] != SEARCH:
                recent.appendleft(item)
    return by_rules, by_popularity


def _place_in(ranked: list[int], item: int) -> int:
    return ranked.index(item) + 1 if item in ranked else MISSED


def _types_by_rules(rules: Rules, sequences: Sequences, steps: NDArray[np.int64]) -> float:
    """Log-loss of the chain of types on actions (N,) that follow another, in nats."""
    table = np.log([rules.type_probabilities(code) for code in range(NO_TYPE)])
    return -_mean(table[_types_before(sequences)[steps], sequences.types[steps]])


def _types_before(sequences: Sequences) -> NDArray[np.int64]:
    """The type before each action (A,), NO_TYPE for a user's first."""
    before = np.roll(sequences.types, 1).astype(np.int64)
    before[sequences.offsets[:-1]] = NO_TYPE
    return before


def _mean(values: NDArray[np.generic]) -> float:
    """The mean, which is 0 rather than NaN where there is nothing to average."""
    return float(values.mean()) if len(values) else 0.0
