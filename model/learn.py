"""From a log to a model that can serve: network, fusion, calibration.

The network and the evidence first learn from all but the newest slice of the log. On that slice, which they have not
seen, the combiner learns how far to trust each of them. Then the network and the evidence learn from the whole log,
and so does the purchase head: what serves has seen everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch

from model.calibration import Calibration
from model.combiner import Combiner, CombinerConfig, fit_combiner, unfitted
from model.events import SEARCH
from model.evidence import evidence_of
from model.fused_ranking import FusedRanker
from model.fusion import Fusion
from model.log import Log, active, held_out_share
from model.network import Network
from model.purchases import fit_purchases
from model.ranking import Holdout
from model.train import FitReport, Progress, TrainConfig, fit
from model.vocabulary import Vocabulary

Tell = Callable[[str, Progress], None]  # the stage, and how far it is
Sample = Callable[[Log], Log]  # what the network learns from, of what is known

_COMBINER_LOSS: Final = "combiner"
_ROOM_OF_EXAMPLE: Final = 50  # actions: a combiner's example takes as much memory as these


@dataclass(frozen=True, slots=True)
class LearnConfig:
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


def learn(
    known: Log,
    vocabulary: Vocabulary,
    start: Callable[[], Network],
    config: LearnConfig,
    *,
    seed: int,
    device: torch.device,
    sample: Sample = lambda log: log,
    tell: Tell = lambda _stage, _progress: None,
) -> Model:
    """A model of the sequences; `start` gives the network to begin with. On a CPU a seed fixes the result.

    The network learns from a `sample`, the evidence from everything. Raises what `fit` raises, and what `tell` does,
    to end it.
    """
    network = start()
    cut = known.newest(held_out_share(known, config.share(len(known))))
    before = known.before(cut)
    if len(held_out(known, cut, config.most_examples)) < config.combiner.least:
        return _learn_unweighed(network, vocabulary, known, config, seed=seed, device=device, sample=sample, tell=tell)
    told = _told(tell, "fitting")
    first = fit(network, vocabulary, sample(before), config.train, seed=seed, device=device, progress=told)
    combiner = weigh(network, vocabulary, known, before, cut, config, seed=seed, device=device, tell=tell)
    if config.anew:
        network, told = start(), _told(tell, "fitting to everything")
        last = fit(network, vocabulary, sample(known), config.train, seed=seed, device=device, progress=told)
    else:
        last = take_in(network, vocabulary, sample(known), config.train, seed=seed, device=device, tell=tell)
    calibration = fit_purchases(network.purchase, vocabulary, known, seed=seed)
    return Model(network, vocabulary, Fusion(evidence_of(known, vocabulary), combiner), calibration, _both(first, last))


def _learn_unweighed(
    network: Network,
    vocabulary: Vocabulary,
    known: Log,
    config: LearnConfig,
    *,
    seed: int,
    device: torch.device,
    sample: Sample,
    tell: Tell,
) -> Model:
    """A model of a log that is too short to hold anything out: it ranks as the network does."""
    told = _told(tell, "fitting")
    report = fit(network, vocabulary, sample(known), config.train, seed=seed, device=device, progress=told)
    fusion = Fusion(evidence_of(known, vocabulary), unfitted())
    calibration = fit_purchases(network.purchase, vocabulary, known, seed=seed)
    return Model(network, vocabulary, fusion, calibration, report)


def weigh(
    network: Network,
    vocabulary: Vocabulary,
    known: Log,
    before: Log,
    cut: int,
    config: LearnConfig,
    *,
    seed: int,
    device: torch.device,
    tell: Tell,
) -> Combiner:
    """A combiner for a network that has learned from `before`, fitted to what `known` has from `cut` (ms) on."""
    fusion = Fusion(evidence_of(before, vocabulary), unfitted())
    foreseen = FusedRanker(network, vocabulary, fusion, device).foresee(held_out(known, cut, config.most_examples))
    return fit_combiner(
        lambda chosen: foreseen.collect(fusion, chosen),
        foreseen.targets,
        config.combiner,
        seed=seed,
        progress=lambda step, steps, loss: tell("weighing", Progress(step, steps, {_COMBINER_LOSS: loss})),
    )


def take_in(
    network: Network,
    vocabulary: Vocabulary,
    known: Log,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    tell: Tell,
) -> FitReport:
    """One gentle pass over what is known, the newest included."""
    gentle = replace(train, least_epochs=1, most_epochs=1, learning_rate=train.learning_rate / 4)
    told = _told(tell, "taking in the newest")
    return fit(network, vocabulary, known, gentle, seed=seed + 1, device=device, progress=told)


def held_out(known: Log, cut: int, most: int) -> Holdout:
    """The next actions on items from `cut` (ms) on, of more than `most` the newest, with their users' sequences."""
    sequences = active(known, cut)
    places = np.flatnonzero(sequences.has_next) + 1
    places = places[(sequences.times[places] >= cut) & (sequences.types[places] != SEARCH)]
    most = min(most, max(1, known.room // _ROOM_OF_EXAMPLE))
    newest = np.argsort(sequences.times[places], kind="stable")[-most:]
    return Holdout(sequences, np.sort(places[newest]))


def _told(tell: Tell, stage: str) -> Callable[[Progress], None]:
    return lambda progress: tell(stage, progress)


def _both(first: FitReport, last: FitReport) -> FitReport:
    return replace(
        last,
        epochs=first.epochs + last.epochs,
        steps=first.steps + last.steps,
        actions=first.actions + last.actions,
    )
