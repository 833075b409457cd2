"""What a round of training is judged by: the served ranking beside the rules, in one pass over the slice.

Shapes: A actions of the sequences, N targets, M labels of purchases, K event types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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
from model.evaluation.baselines import fill_lists
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.judged_users import standard_error
from model.evaluation.network_ranker import TOKENS, exact_ranks
from model.evaluation.passing_log import PassingFusion, PassingRanker, PassingRules, rank_in_time
from model.evaluation.purchase_quality import PurchaseLosses, labelled_from, log_losses, probabilities
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, Ranking, mean, ranking, ranks_in_lists
from model.network.network import Network
from model.serving.rules import NO_TYPE, Rules
from model.statistics.log_statistics import counter_of
from model.versions.version import VersionContents


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well the next actions from the cut on were predicted."""

    targets: int  # next events on an item, each by its first action
    served: Ranking  # network and log, fused
    network: Ranking  # the network alone
    rules: Ranking
    popularity: Ranking
    steps: int  # next events of any type
    type_accuracy: float
    type_log_loss: float  # nats
    rules_type_log_loss: float
    positions: NDArray[np.int64]  # (N,) of the targets in the sequences
    owners: NDArray[np.int64]  # (N,) users of the targets, as indices into the sequences
    served_ranks: NDArray[np.int64]  # (N,) of the targets, 1 is the best; MISSED: not ranked
    rules_ranks: NDArray[np.int64]  # (N,)
    purchases: PurchaseLosses

    def metrics(self) -> dict[str, float]:
        """Returns all figures by name: `recall@20` of what is served, `network_recall@20`, `rules_recall@20`, …

        `recall@20_error` is the standard error of the first, over users.
        """
        figures: dict[str, float] = {}
        rankings = {"": self.served, "network_": self.network, "rules_": self.rules, "popularity_": self.popularity}
        for prefix, means in rankings.items():
            for name in ("recall", "mrr", "ndcg"):
                figures |= {f"{prefix}{name}@{k}": value for k, value in getattr(means, name).items()}
        for name in ("targets", "steps", "type_accuracy", "type_log_loss", "rules_type_log_loss"):
            figures[name] = float(getattr(self, name))
        if len(self.purchases.losses):
            figures["purchase_log_loss"] = mean(self.purchases.losses)
            figures["rules_purchase_log_loss"] = mean(self.purchases.rules_losses)
        error = standard_error((self.served_ranks <= LIST_SIZE).astype(np.float64), self.owners)
        return figures | ({f"recall@{LIST_SIZE}_error": error} if math.isfinite(error) else {})


@dataclass(frozen=True, slots=True)
class ServedQuality:
    """How well what a version serves foretold the next actions from a cut on."""

    ranks: NDArray[np.int64]  # (N,) of the targets, 1 is the best; MISSED: not ranked
    purchases: PurchaseLosses


@dataclass(frozen=True, slots=True)
class TimeSlice:
    """A time that nobody has learned, as it is judged by: what was known before, and the sequences around it."""

    known: EventLog  # of the time before
    sequences: Sequences
    cut: int  # when it begins, ms
    device: torch.device  # where versions predict it

    @property
    def holdout(self) -> Holdout:
        """The next actions on items from the cut on."""
        return Holdout(self.sequences, self.sequences.targets_from(self.cut))


def evaluate(version: VersionContents, of: TimeSlice) -> Evaluation:
    """Evaluates one version: see `evaluate_all`."""
    return evaluate_all([version], of)[0]


def evaluate_all(versions: Sequence[VersionContents], of: TimeSlice) -> list[Evaluation]:
    """Ranks every action of a slice from what was known before it, in one pass: by each version and by the rules.

    Networks stay as they are. The rules and the statistics of all versions, unless these were made to stand still,
    have learned what is known before the slice, and learn on the way.
    """
    holdout, rules = of.holdout, learned_rules(of.known)  # the rules that stand still are for all but the ranking
    ranks = _ranks_in_time(versions, of, with_rules=True)
    popular = fill_lists(np.zeros((len(holdout), LIST_SIZE), np.uint64), np.array(rules.popular(LIST_SIZE), np.uint64))
    popularity = ranking(ranks_in_lists(popular, holdout.item_keys).ranks)
    steps = of.sequences.next_actions_from(of.cut)
    type_loss = _type_loss_of_rules(rules, of.sequences, steps)
    found = []
    for version, served in zip(versions, ranks, strict=False):
        of_network = _predict(version.network, version.vocabulary, of.sequences, of.cut, of.device)
        found.append(
            Evaluation(
                targets=len(holdout),
                served=ranking(served),
                network=ranking(of_network.ranks[holdout.positions]),
                rules=ranking(ranks[-1]),
                popularity=popularity,
                steps=len(steps),
                type_accuracy=mean(of_network.type_hits[steps]),
                type_log_loss=-mean(of_network.type_log_probabilities[steps]),
                rules_type_log_loss=type_loss,
                positions=holdout.positions,
                owners=holdout.owners,
                served_ranks=served,
                rules_ranks=ranks[-1],
                purchases=_purchase_losses(version, of, rules),
            )
        )
    return found


def served_quality(version: VersionContents, of: TimeSlice) -> ServedQuality:
    """Measures what workers would publish: the ranking of network and statistics together, purchase probabilities."""
    return ServedQuality(_ranks_in_time([version], of)[0], _purchase_losses(version, of, learned_rules(of.known)))


def _ranks_in_time(
    versions: Sequence[VersionContents], of: TimeSlice, *, with_rules: bool = False
) -> list[NDArray[np.int64]]:
    """Returns the ranks (N,) of the targets by each version and, if wanted, by the rules."""
    holdout, counter = of.holdout, counter_of(of.known)
    rankers: dict[str, PassingRanker] = {}
    for number, version in enumerate(versions):
        fusion = replace(version.fusion, statistics=counter.table) if version.fusion.live else version.fusion
        ranker = FusionRanker(version.network.to(of.device), version.vocabulary, fusion, of.device)
        rankers[str(number)] = PassingFusion(ranker, holdout)
    if with_rules:
        rankers["rules"] = PassingRules(learned_rules(of.known), holdout)
    return [found.ranks for found in rank_in_time(rankers, holdout, counter, of.cut).values()]


def _purchase_losses(version: VersionContents, of: TimeSlice, rules: Rules) -> PurchaseLosses:
    sequences = of.sequences
    positions = labelled_from(sequences, of.cut)
    bought = sequences.purchase_soon[positions]
    ours = probabilities(version.network.purchase, version.vocabulary, version.calibration, sequences, positions)
    theirs = np.array([rules.purchase_probability(code) for code in range(NO_TYPE)])[sequences.types[positions]]
    return PurchaseLosses(sequences.users_at(positions), bought, log_losses(ours, bought), log_losses(theirs, bought))


def learned_rules(log: EventLog) -> Rules:
    """Returns rules that have learned the newest actions of a log, as many as fit, in the order of time."""
    sequences, rules = latest_actions(log), Rules()
    types, before, on_item = sequences.types, _types_before(sequences), sequences.types != SEARCH
    items, ranks = sequences.item_keys[on_item], np.cumsum(on_item) - on_item  # of each action among those on items
    firsts = np.repeat(ranks[sequences.offsets[:-1]], np.diff(sequences.offsets))
    for position in np.argsort(sequences.times, kind="stable").tolist():
        if not sequences.continues[position]:
            rules.learn_type(int(before[position]), int(types[position]))
        if on_item[position]:
            rank, first = int(ranks[position]), max(int(firsts[position]), int(ranks[position]) - COVISIT_WINDOW)
            rules.learn(items[first:rank][::-1].tolist(), int(items[rank]), "")
    return rules


class _NetworkPredictions(NamedTuple):
    """What the network predicted of every action (A,); only the entries of actions after the cut mean anything."""

    ranks: NDArray[np.int64]  # of the action's item
    type_log_probabilities: NDArray[np.float64]  # of the action's type
    type_hits: NDArray[np.bool_]  # whether that type was the most probable


def _predict(
    network: Network, vocabulary: Vocabulary, sequences: Sequences, cut: int, device: torch.device
) -> _NetworkPredictions:
    ranks = np.full(len(sequences), MISSED)
    log_probabilities = np.zeros(len(sequences))
    hits = np.zeros(len(sequences), np.bool_)
    with torch.inference_mode():
        items = network.item_vectors()
        for batch in batches(sequences, tokens=TOKENS, cut=cut):
            targets = targets_of(batch, vocabulary, device)
            _, vectors = network(vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries).to(device))
            known = targets.next_known.cpu().numpy()
            rows = targets.next_rows[targets.next_known] - ITEM_BUCKETS
            ranks[batch.positions[known] + 1] = exact_ranks(network.queries(vectors[targets.next_known]), items, rows)
            following = batch.positions[batch.has_next] + 1
            log_p = F.log_softmax(network.type_logits(vectors[targets.has_next]), -1)
            types = targets.next_types[targets.has_next]
            log_probabilities[following] = log_p.gather(1, types.unsqueeze(1)).squeeze(1).cpu().numpy()
            hits[following] = (log_p.argmax(1) == types).cpu().numpy()
    return _NetworkPredictions(ranks, log_probabilities, hits)


def _type_loss_of_rules(rules: Rules, sequences: Sequences, steps: NDArray[np.int64]) -> float:
    """Returns the log-loss of the rules' chain of types on actions (N,) that follow another, in nats."""
    table = np.log([rules.type_probabilities(code) for code in range(NO_TYPE)])
    return -mean(table[_types_before(sequences)[steps], sequences.types[steps]])


def _types_before(sequences: Sequences) -> NDArray[np.int64]:
    """Returns the type before each action (A,), NO_TYPE for a user's first."""
    before = np.roll(sequences.types, 1).astype(np.int64)
    before[sequences.offsets[:-1]] = NO_TYPE
    return before
