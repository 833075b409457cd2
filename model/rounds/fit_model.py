"""From a log to a model that can serve: network, fusion, calibration.

The network and the evidence first learn from all but the newest slice of the log. On that slice, which they have not
seen, the combiner learns how far to trust each of them. Then the network and the evidence learn from the whole log,
and so does the purchase head: what serves has seen everything. A log that is too short to hold anything out leaves the
combiner as it was; a new one ranks as the network does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from model.data.event_log import EventLog, active_sequences, held_out_share
from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.ranking import Holdout
from model.fusion.combiner import Combiner, CombinerConfig, fit_combiner, identity_combiner
from model.fusion.fusion import Fusion
from model.fusion.item_statistics import item_statistics_of
from model.network.calibration import Calibration
from model.network.network import Network
from model.rounds.fit_purchases import fit_purchases
from model.rounds.rehearsal import rehearsal
from model.training.checkpoints import NOWHERE, Checkpoints
from model.training.fit_network import FitReport, Progress, TrainConfig, fit_network

Tell = Callable[[str, Progress], None]  # the stage, and how far it is
Sample = Callable[[EventLog], EventLog]  # what the network learns from, of what is known

_COMBINER_LOSS: Final = "combiner"
_ROOM_OF_EXAMPLE: Final = 50  # actions: a combiner's example takes as much memory as these


@dataclass(frozen=True, slots=True)
class FitModelConfig:
    """How to learn."""

    held_out: float = 0.1  # newest share of the actions, for the combiner
    most_held_out: float = 0.2  # of a small log, whose newest tenth has too few examples to weigh by
    enough_held_out: int = 10_000  # actions: what a larger share is for
    most_examples: int = 40_000  # for the combiner; of more, the newest
    anew: bool = True  # learn the whole log from the start again; else what is new is taken in by one gentle pass
    train: TrainConfig = field(default_factory=TrainConfig)
    combiner: CombinerConfig = field(default_factory=CombinerConfig)

    def share(self, actions: int) -> float:
        """The newest share of so many actions that is held out."""
        return max(self.held_out, min(self.most_held_out, self.enough_held_out / max(1, actions)))


@dataclass(frozen=True, slots=True)
class Model:
    """All that answers come from; the network in evaluation mode."""

    network: Network
    vocabulary: Vocabulary
    fusion: Fusion
    calibration: Calibration
    report: FitReport  # of the network, over all passes


def fit_model(
    known: EventLog,
    vocabulary: Vocabulary,
    start: Callable[[], Network],
    config: FitModelConfig,
    *,
    seed: int,
    device: torch.device,
    sample: Sample = lambda log: log,
    combiner: Combiner | None = None,
    tell: Tell = lambda _stage, _progress: None,
    savepoints: Checkpoints = NOWHERE,
) -> Model:
    """A model of the sequences; `start` gives the network to begin with. On a CPU a seed fixes the result.

    The network learns from a `sample`, the evidence from everything; the combiner goes on from the one that is given.
    Raises what `fit_network` raises, and what `tell` does, to end it; called again it goes on from the `savepoints`.
    """
    network = start()

    def fitting(stage: str, network: Network, part: EventLog) -> FitReport:
        told, point = partial(tell, stage), savepoints.next()
        return fit_network(
            network, vocabulary, part, config.train, seed=seed, device=device, progress=told, savepoint=point
        )

    cut = known.newest(held_out_share(known, config.share(len(known))))
    before = known.before(cut)
    if len(held_out(known, cut, config.most_examples)) < config.combiner.least:
        report = fitting("fitting", network, sample(known))
        fusion = Fusion(item_statistics_of(known, vocabulary), identity_combiner() if combiner is None else combiner)
        return Model(network, vocabulary, fusion, fit_purchases(network.purchase, vocabulary, known, seed=seed), report)
    first = fitting("fitting", network, sample(before))
    weighing: Any = {"seed": seed, "device": device, "start": combiner, "tell": tell}
    weighed = fit_combiner_on_holdout(network, vocabulary, known, before, cut, config, **weighing)
    if config.anew:
        network = start()
        last = fitting("fitting to everything", network, sample(known))
    else:
        going: Any = {"device": device, "tell": tell, "savepoints": savepoints}
        last = fine_tune(network, vocabulary, sample(known), cut, config.train, seed=seed, **going)
    calibration = fit_purchases(network.purchase, vocabulary, known, seed=seed)
    return Model(
        network, vocabulary, Fusion(item_statistics_of(known, vocabulary), weighed), calibration, _both(first, last)
    )


def fit_combiner_on_holdout(
    network: Network,
    vocabulary: Vocabulary,
    known: EventLog,
    before: EventLog,
    cut: int,
    config: FitModelConfig,
    *,
    seed: int,
    device: torch.device,
    tell: Tell,
    start: Combiner | None = None,
) -> Combiner:
    """A combiner for a network that has learned from `before`, fitted to what `known` has from `cut` (ms) on."""
    fusion = Fusion(item_statistics_of(before, vocabulary), identity_combiner())
    inputs = FusionRanker(network, vocabulary, fusion, device).inputs_of(held_out(known, cut, config.most_examples))
    return fit_combiner(
        lambda chosen: inputs.collect(fusion, chosen),
        inputs.targets,
        config.combiner,
        seed=seed,
        start=start,
        progress=lambda step, steps, loss: tell("weighing", Progress(step, steps, {_COMBINER_LOSS: loss})),
    )


def fine_tune(
    network: Network,
    vocabulary: Vocabulary,
    known: EventLog,
    since: int,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    tell: Tell,
    savepoints: Checkpoints = NOWHERE,
) -> FitReport:
    """One gentle pass over the users who did something from `since` (ms) on, and as many actions of others."""
    gentle = replace(train, least_epochs=1, most_epochs=1, learning_rate=train.learning_rate / 4)
    told, point = partial(tell, "taking in the newest"), savepoints.next()
    newest = rehearsal(known, since, 2 * len(active_sequences(known, since)), np.random.default_rng(seed))
    return fit_network(
        network, vocabulary, newest, gentle, seed=seed + 1, device=device, progress=told, savepoint=point
    )


def held_out(known: EventLog, cut: int, most: int) -> Holdout:
    """The next actions on items from `cut` (ms) on, of more than `most` the newest, with their users' sequences."""
    sequences = active_sequences(known, cut)
    targets = sequences.targets_from(cut)
    most = min(most, max(1, known.room // _ROOM_OF_EXAMPLE))
    newest = np.argsort(sequences.times[targets], kind="stable")[-most:]
    return Holdout(sequences, np.sort(targets[newest]))


def _both(first: FitReport, last: FitReport) -> FitReport:
    return replace(
        last,
        epochs=first.epochs + last.epochs,
        steps=first.steps + last.steps,
        actions=first.actions + last.actions,
    )
