"""What a round of training is judged by: what would be served beside the rules, on the same targets in the same order.

Shapes: A actions of the sequences, N targets, K event types.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from model.data.batches import batches
from model.data.covisits import COVISIT_WINDOW
from model.data.event_log import EventLog, latest_actions
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.data.targets import targets_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.baselines import ServedRules, completed
from model.evaluation.fusion_ranker import FusedRanker
from model.evaluation.network_ranker import TOKENS, exact_ranks
from model.evaluation.ranking import LISTED, MISSED, Holdout, Ranking, listed, mean, rank_all, ranking
from model.fusion.fusion import Fusion
from model.network.network import Network
from model.serving.rules import NO_TYPE, Rules


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well the next actions from the cut on were foreseen."""

    targets: int  # next actions on an item
    served: Ranking  # network and evidence, fused
    network: Ranking  # alone
    rules: Ranking
    popularity: Ranking
    steps: int  # next actions of any type
    type_accuracy: float
    type_log_loss: float  # nats
    rules_type_log_loss: float
    places: NDArray[np.int64]  # (N,) of the targets in the sequences
    owners: NDArray[np.int64]  # (N,) users of the targets
    served_ranks: NDArray[np.int64]  # (N,) of the targets, 1 is the best; MISSED: not ranked
    rules_ranks: NDArray[np.int64]  # (N,)

    def metrics(self) -> dict[str, float]:
        """All numbers by name: `recall@20` of what is served, `network_recall@20`, `rules_recall@20`, …"""
        found: dict[str, float] = {}
        rankings = {"": self.served, "network_": self.network, "rules_": self.rules, "popularity_": self.popularity}
        for prefix, means in rankings.items():
            for name in ("recall", "mrr", "ndcg"):
                found |= {f"{prefix}{name}@{k}": value for k, value in getattr(means, name).items()}
        for name in ("targets", "steps", "type_accuracy", "type_log_loss", "rules_type_log_loss"):
            found[name] = float(getattr(self, name))
        return found


def evaluate(
    network: Network,
    vocabulary: Vocabulary,
    fusion: Fusion,
    rules: Rules,
    sequences: Sequences,
    *,
    cut: int,
    device: torch.device,
) -> Evaluation:
    """Ranks every action at or after `cut` (ms) from the actions of its user before it.

    Nothing learns on the way: network, fusion and rules know what they knew before.
    """
    steps, targets = sequences.next_actions_from(cut), sequences.targets_from(cut)
    ranks, log_probabilities, right = _by_network(network, vocabulary, sequences, cut, device)
    holdout = Holdout(sequences, targets)
    served = rank_all(FusedRanker(network, vocabulary, fusion, device), holdout).ranks
    by_rules = rank_all(ServedRules(rules), holdout).ranks
    popular = completed(np.zeros((len(targets), LISTED), np.uint64), np.array(rules.popular(LISTED), np.uint64))
    return Evaluation(
        targets=len(targets),
        served=ranking(served),
        network=ranking(ranks[targets]),
        rules=ranking(by_rules),
        popularity=ranking(listed(popular, holdout.item_keys).ranks),
        steps=len(steps),
        type_accuracy=mean(right[steps]),
        type_log_loss=-mean(log_probabilities[steps]),
        rules_type_log_loss=_types_by_rules(rules, sequences, steps),
        places=targets,
        owners=holdout.owners,
        served_ranks=served,
        rules_ranks=by_rules,
    )


def learned_rules(log: EventLog) -> Rules:
    """Rules that have seen the newest actions of a log, as many as there is room for, in the order of time."""
    sequences, rules = latest_actions(log), Rules()
    types, before, on_item = sequences.types, _types_before(sequences), sequences.types != SEARCH
    items, ranks = sequences.item_keys[on_item], np.cumsum(on_item) - on_item  # of each action among those on items
    firsts = np.repeat(ranks[sequences.offsets[:-1]], np.diff(sequences.offsets))
    for place in np.argsort(sequences.times, kind="stable").tolist():
        rules.learn_type(int(before[place]), int(types[place]))
        if on_item[place]:
            rank, first = int(ranks[place]), max(int(firsts[place]), int(ranks[place]) - COVISIT_WINDOW)
            rules.learn(items[first:rank][::-1].tolist(), int(items[rank]), "")
    return rules


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
        for batch in batches(sequences, tokens=TOKENS, cut=cut):
            targets = targets_of(batch, vocabulary, device)
            _, vectors = network(vocabulary.tokens(batch.item_keys, batch.contexts).to(device))
            known = targets.next_known.cpu().numpy()
            rows = targets.next_rows[targets.next_known] - ITEM_BUCKETS
            ranks[batch.places[known] + 1] = exact_ranks(network.queries(vectors[targets.next_known]), items, rows)
            following = batch.places[batch.has_next] + 1
            log_p = F.log_softmax(network.type_logits(vectors[targets.has_next]), -1)
            types = targets.next_types[targets.has_next]
            log_probabilities[following] = log_p.gather(1, types.unsqueeze(1)).squeeze(1).cpu().numpy()
            right[following] = (log_p.argmax(1) == types).cpu().numpy()
    return ranks, log_probabilities, right


def _types_by_rules(rules: Rules, sequences: Sequences, steps: NDArray[np.int64]) -> float:
    """Log-loss of the chain of types on actions (N,) that follow another, in nats."""
    table = np.log([rules.type_probabilities(code) for code in range(NO_TYPE)])
    return -mean(table[_types_before(sequences)[steps], sequences.types[steps]])


def _types_before(sequences: Sequences) -> NDArray[np.int64]:
    """The type before each action (A,), NO_TYPE for a user's first."""
    before = np.roll(sequences.types, 1).astype(np.int64)
    before[sequences.offsets[:-1]] = NO_TYPE
    return before
