"""From a log to a model that can serve: network, fusion, calibration.

The network and the item statistics first learn from all but the newest slice of the log. On that slice, which they have
not seen, the combiner learns how far to trust each of them; items that appeared in it are unknown there, as new items
are to what serves. Then the network and the statistics learn from the whole log, with all of its items, and so does the
purchase head: what serves has seen everything. Where a log is too short to hold anything out, the
combiner stays as it was; a new one ranks as the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.event_log import EventLog, active_sequences, held_out_share
from model.data.log_summary import DatedItems
from model.data.price_bins import NO_BINS, PriceBins
from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker, chunks_of
from model.evaluation.passing_log import batches_in_time
from model.evaluation.ranking import Holdout
from model.fusion.candidate_features import FEATURES, LATER_FEATURES
from model.fusion.combiner import (
    Combiner,
    CombinerConfig,
    Examples,
    fit_combiner,
    identity_combiner,
    joined_examples,
)
from model.fusion.fusion import Fusion
from model.network.calibration import Calibration
from model.network.network import Network
from model.profile.profile import NO_PROFILE, Profile
from model.rounds.fit_purchases import fit_purchases
from model.rounds.initial_network import carried_over
from model.rounds.rehearsal import rehearsal
from model.statistics.log_statistics import counter_of
from model.training.fit_network import FitReport, TrainConfig, fit_network
from model.training.fit_run import FitRun, Progress

Sample = Callable[[EventLog], EventLog]  # picks what the network learns from

_COMBINER_LOSS: Final = "combiner"  # its name among the losses
_ACTIONS_PER_EXAMPLE: Final = 400  # an example of the combiner takes as much memory as so many actions


@dataclass(frozen=True, slots=True)
class FitModelConfig:
    """How to fit a model."""

    held_out: float = 0.1  # newest share of the actions, for the combiner
    most_held_out: float = 0.2  # of a small log, whose newest tenth has too few examples to weigh by
    enough_held_out: int = 10_000  # actions: what a larger share is for
    most_examples: int = 30_000  # for the combiner; of more, the newest
    live: bool = True  # the combiner learns from statistics that learn as the log passes, as they are served; else from
    # ones that stand still, and without the features that versions of the format before lack
    also_still: bool = False  # whether a second combiner is fitted, to statistics that stand still, for comparisons
    hidden_items: float = 0.2  # share of items that the combiner sees as if they had come after the vocabulary
    from_scratch: bool = True  # the network learns the whole log from its start again; else one pass over what is new
    train: TrainConfig = field(default_factory=TrainConfig)
    combiner: CombinerConfig = field(default_factory=CombinerConfig)

    def share(self, actions: int) -> float:
        """Returns the newest share of so many actions that is held out."""
        return max(self.held_out, min(self.most_held_out, self.enough_held_out / max(1, actions)))


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """What a model is fitted from, and how much of the log its network learns from."""

    network: Callable[[Vocabulary], Network]  # makes the network that a fit begins with, for a vocabulary
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary([]))  # to which the items of the log are appended
    combiner: Combiner | None = None  # that the new one starts from
    sample: Sample = lambda log: log


@dataclass(frozen=True, slots=True)
class Model:
    """All that predictions come from; the network is in evaluation mode."""

    network: Network
    vocabulary: Vocabulary
    fusion: Fusion
    calibration: Calibration
    report: FitReport  # of the network, over all fits
    bins: PriceBins = NO_BINS  # which it read prices in
    profile: Profile = NO_PROFILE  # fitted last, for a model that is published
    still: Fusion | None = None  # fitted to statistics that stand still, where that was asked for


def fit_model(known: EventLog, items: DatedItems, start: StartingPoint, config: FitModelConfig, run: FitRun) -> Model:
    """Fits a model to a log and its items. On a CPU the run's seed fixes the result.

    The network learns from a sample of the log, the item statistics from all of it. Raises what `fit_network` raises,
    and what `run.tell` does, to end it; called again it resumes from the run's checkpoints.
    """
    vocabulary = start.vocabulary.grown(items.ids)
    cut = known.newest(held_out_share(known, config.share(len(known))))
    before = known.before(cut)
    if len(held_out(known, cut, config.most_examples)) < config.combiner.least:
        network = start.network(vocabulary)
        report = fit_network(network, vocabulary, start.sample(known), config.train, run)
        combiner = deepcopy(start.combiner or identity_combiner()).without(_unseen(config))
        fusion = Fusion(counter_of(known).table, combiner, config.live)
        calibration = fit_purchases(network.purchase, vocabulary, known, seed=run.seed)
        return Model(network, vocabulary, fusion, calibration, report, known.bins)
    earlier = start.vocabulary.grown(items.before(cut).ids)
    vocabulary = earlier.grown(items.ids)
    network = start.network(earlier)
    first = fit_network(network, earlier, start.sample(before), config.train, run)
    cut_log = CutLog(known, before, cut)
    combiner = fit_combiner_on_holdout(network, earlier, cut_log, config, run, start.combiner)
    still = None
    if config.also_still:
        still = fit_combiner_on_holdout(network, earlier, cut_log, replace(config, live=False), run)
    if config.from_scratch:
        network = start.network(vocabulary)
        stage = "fitting to everything"
        last = fit_network(network, vocabulary, start.sample(known), config.train, run, stage=stage)
    else:
        network = carried_over(network, earlier, vocabulary, run.seed)
        last = fine_tune(network, vocabulary, start.sample(known), cut, config.train, run)
    calibration = fit_purchases(network.purchase, vocabulary, known, seed=run.seed)
    fusion = Fusion(counter_of(known).table, combiner, config.live)
    of_still = None if still is None else Fusion(counter_of(known).table, still, live=False)
    return Model(network, vocabulary, fusion, calibration, _in_sum(first, last), known.bins, still=of_still)


@dataclass(frozen=True, slots=True)
class CutLog:
    """A log, and what of it had happened before a time."""

    log: EventLog
    before: EventLog
    cut: int  # ms


def fit_combiner_on_holdout(
    network: Network,
    vocabulary: Vocabulary,
    known: CutLog,
    config: FitModelConfig,
    run: FitRun,
    start: Combiner | None = None,
) -> Combiner:
    """Fits a combiner to what the log has from the cut on, for a network that has learned from what is before it."""
    counter = counter_of(known.before)
    hidden = np.random.default_rng(run.seed).random(len(vocabulary)) < config.hidden_items if config.live else None
    fusion = Fusion(counter.table, identity_combiner())
    ranker = FusionRanker(network, vocabulary, fusion, run.device, hidden=hidden)
    holdout = held_out(known.log, known.cut, config.most_examples)
    batches = batches_in_time(holdout, counter, known.cut) if config.live else chunks_of(len(holdout))
    examples = _examples(ranker, holdout, batches)
    unseen = _unseen(config)
    return fit_combiner(
        examples.without(unseen),
        config.combiner,
        seed=run.seed,
        start=start,
        progress=lambda step, steps, loss: run.tell("weighing", Progress(step, steps, {_COMBINER_LOSS: loss})),
    ).without(unseen)


def _unseen(config: FitModelConfig) -> list[int]:
    """Returns the features that the combiner must not look at."""
    return [] if config.live else [FEATURES.index(name) for name in LATER_FEATURES]


def _examples(ranker: FusionRanker, holdout: Holdout, batches: Iterable[NDArray[np.int64]]) -> Examples:
    """Returns the candidates of each target with their features as they stand when its batch comes."""
    inputs = ranker.inputs_of(holdout)
    return joined_examples([Examples(*ranker.collect(inputs.select(targets))) for targets in batches])


def fine_tune(
    network: Network, vocabulary: Vocabulary, known: EventLog, since: int, train: TrainConfig, run: FitRun
) -> FitReport:
    """Trains for one gentle pass over the users with an action from `since` (ms) on, and as many actions of others."""
    gentle = replace(train, least_epochs=1, most_epochs=1, learning_rate=train.learning_rate / 4)
    newest = rehearsal(known, since, 2 * len(active_sequences(known, since)), np.random.default_rng(run.seed))
    run = replace(run, seed=run.seed + 1)
    return fit_network(network, vocabulary, newest, gentle, run, stage="taking in the newest")


def held_out(known: EventLog, cut: int, most: int) -> Holdout:
    """Holds out the next actions on items from `cut` (ms) on, with their users' sequences: the newest `most`."""
    sequences = active_sequences(known, cut)
    targets = sequences.targets_from(cut)
    most = min(most, max(1, known.room // _ACTIONS_PER_EXAMPLE))
    newest = np.argsort(sequences.times[targets], kind="stable")[-most:]
    return Holdout(sequences, np.sort(targets[newest]))


def _in_sum(first: FitReport, last: FitReport) -> FitReport:
    return replace(
        last,
        epochs=first.epochs + last.epochs,
        steps=first.steps + last.steps,
        actions=first.actions + last.actions,
    )
