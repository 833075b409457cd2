"""One round of training: from a log and the champion to a challenger and a verdict on it.

The challenger learns from all but the newest slice of time. On that slice, which neither it nor the champion has seen,
it is judged; once it has won it learns from that slice too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from model.data.disk_log import Window
from model.data.event_log import EventLog, active_sequences, held_out_share, parts, sampled_times, span
from model.data.events import Actions
from model.data.vocabulary import Vocabulary
from model.errors import TooLittleData
from model.evaluation.evaluate import Evaluation, evaluate, learned_rules
from model.evaluation.gate import GateConfig, Verdict, judge
from model.fusion.combiner import Combiner, CombinerConfig
from model.fusion.fusion import Fusion
from model.fusion.item_statistics import item_statistics_of
from model.network.backbones import BackboneName
from model.network.network import Network, NetworkConfig
from model.rounds.fit_model import FitModelConfig, Model, Sample, fine_tune, fit_model
from model.rounds.fit_purchases import fit_purchases
from model.rounds.initial_network import cold_start, warm_start
from model.rounds.latency import Clock, seconds_per_event
from model.rounds.rehearsal import rehearsal
from model.rounds.training_report import Curve, TrainingReport, parts_of, window_of
from model.serving.serving import serve
from model.training.checkpoints import NOWHERE, Checkpoints, fingerprint_of
from model.training.fit_network import Progress
from model.versions.version import Fact, Version

LEAST_TARGETS = 50  # held-out next items that a verdict needs


@dataclass(frozen=True, slots=True)
class RoundConfig:
    """How to run a round."""

    hidden: int = 128
    backbone: BackboneName = "gru"
    holdout: float = 0.1  # newest share of the actions
    # Rounds are many, and the first one is waited for: what is new is taken in by a pass, not by learning all anew.
    fitting: FitModelConfig = field(
        default_factory=lambda: FitModelConfig(anew=False, combiner=CombinerConfig(examples=60_000))
    )
    most_actions: int = 300_000  # that a network which goes on from the champion learns from: new ones and a replay
    warm_rate: float = 0.5  # of its learning rate, as a share of a first version's
    gate: GateConfig = field(default_factory=GateConfig)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """A challenger and what was found about it."""

    model: Model
    challenger: Evaluation
    champion: Evaluation | None
    verdict: Verdict
    trained_until: int  # time of the newest action that the model has learned from, ms
    report: TrainingReport

    def metrics(self) -> dict[str, float]:
        """The challenger's numbers, the champion's on the same targets, and the gate's."""
        found = self.challenger.metrics() | self.verdict.metrics()
        if self.champion is not None:
            found |= {f"champion_{name}": value for name, value in self.champion.metrics().items() if "@20" in name}
        return found


def train_round(
    window: Window,
    champion: Version | None,
    config: RoundConfig,
    *,
    device: torch.device,
    clock: Clock,
    progress: Callable[[str, Progress], None] = lambda _stage, _progress: None,
    savepoints: Checkpoints = NOWHERE,
) -> Round:
    """Runs a round on a window of the log; `progress` is told the stage and may raise to end it.

    `clock` (seconds) times the answers of the challenger. A round that was ended goes on from the `savepoints` when it
    is run again with the same arguments; the curve in its report then begins there.

    Raises `TooLittleData` when there is not enough to learn or to judge.
    """
    log = window.log
    cut = _cut(log, champion, config.holdout)
    known, judged = log.before(cut), active_sequences(log, cut)
    vocabulary = (champion.vocabulary if champion else Vocabulary([])).grown(window.items)
    start, combiner, learning = _start(champion, vocabulary, config)
    savepoints.begin(_fingerprint(log, vocabulary, champion, config, device))
    curve = Curve()

    def tell(stage: str, step: Progress) -> None:
        curve.add(stage, step)
        progress(stage, step)

    sample = _sample(champion, config)
    going: Any = {"device": device, "tell": tell, "savepoints": savepoints}
    model = fit_model(known, vocabulary, start, learning, seed=config.seed, sample=sample, combiner=combiner, **going)
    rules = learned_rules(known)
    score = partial(evaluate, rules=rules, sequences=judged, cut=cut, device=device)
    challenger = score(model.network, vocabulary, model.fusion)
    incumbent = score(champion.network.to(device), champion.vocabulary, champion.fusion) if champion else None
    verdict = judge(challenger, incumbent, _seconds_per_event(model, window.newest, device, clock), config.gate)
    trained_until = cut - 1
    if verdict.promoted:
        fine_tune(model.network, vocabulary, sample(log), cut, learning.train, seed=config.seed + 1, **going)
        calibration = fit_purchases(model.network.purchase, vocabulary, log, seed=config.seed)
        fusion = Fusion(item_statistics_of(log, vocabulary), model.fusion.combiner)
        model = replace(model, fusion=fusion, calibration=calibration)
        _, trained_until = span(log)
    quality = list(parts_of(challenger, judged, known, cut))
    report = TrainingReport(window_of(log, cut), quality, curve.points)
    return Round(model, challenger, incumbent, verdict, trained_until, report)


def unsaved(model: Model, **facts: Fact) -> Version:
    """A model as a version that lies nowhere yet."""
    return Version(
        name="unsaved",
        created="",
        manifest_sha256="",
        network=model.network,
        vocabulary=model.vocabulary,
        calibration=model.calibration,
        fusion=model.fusion,
        metrics={},
        facts=facts,
    )


def _fingerprint(
    log: EventLog,
    vocabulary: Vocabulary,
    champion: Version | None,
    config: RoundConfig,
    device: torch.device,
) -> str:
    arrays = (array for part in parts(log) for array in (part.item_keys, part.contexts, part.times, part.offsets))
    return fingerprint_of((champion and champion.manifest_sha256, config, device), vocabulary.items, arrays)


def _seconds_per_event(model: Model, actions: Actions, device: torch.device, clock: Clock) -> float:
    return seconds_per_event(serve(unsaved(model), device), actions, device=device, clock=clock)


def _cut(log: EventLog, champion: Version | None, holdout: float) -> int:
    """From when on actions are held out: the newest share, and of what is new to the champion no more than half."""
    if not len(log):
        raise TooLittleData("the log has no events: collect some first")
    newest = log.newest(held_out_share(log, holdout))
    if newest <= span(log)[0]:
        raise TooLittleData("all events of the log are of one time: nothing can be held out, collect more events")
    for cut in (max(newest, middle) for middle in (*_middle_of_the_new(log, champion), newest)):
        if _targets(log, cut) >= LEAST_TARGETS:
            return cut
    raise TooLittleData(
        f"only {_targets(log, newest)} held-out actions on items follow another of their user; "
        f"a verdict needs {LEAST_TARGETS}: collect more events"
    )


def _middle_of_the_new(log: EventLog, champion: Version | None) -> tuple[int, ...]:
    """The middle (ms) of the actions that the champion has not learned from, and their beginning; nothing without."""
    seen = int(champion.facts.get("trained_until", 0)) if champion else 0
    times = sampled_times(log)
    new = times[times > seen]
    return (int(np.quantile(new, 0.5, method="higher")), seen + 1) if champion and len(new) else ()


def _targets(log: EventLog, cut: int) -> int:
    return sum(len(part.targets_from(cut)) for part in parts(log))


def _sample(champion: Version | None, config: RoundConfig) -> Sample:
    """All that is known for a first version, else what is new to the champion and some of the rest."""
    if champion is None or not _same_kind(champion.network.config, config.hidden, config.backbone):
        return lambda log: log
    since, randomness = int(champion.facts.get("trained_until", 0)) + 1, np.random.default_rng(config.seed)
    return lambda log: rehearsal(log, since, config.most_actions, randomness)


def _start(
    champion: Version | None, vocabulary: Vocabulary, config: RoundConfig
) -> tuple[Callable[[], Network], Combiner | None, FitModelConfig]:
    """The champion's network and combiner where they are of the kind that is asked for, else new ones; and how to learn
    from there."""
    wanted = NetworkConfig(items=len(vocabulary), hidden=config.hidden, backbone=config.backbone)
    if champion is None or not _same_kind(champion.network.config, config.hidden, config.backbone):
        return lambda: cold_start(wanted, config.seed), None, config.fitting
    return (
        lambda: warm_start(champion, vocabulary, torch.Generator().manual_seed(config.seed)),
        champion.fusion.combiner,
        _warm(config.fitting, config.warm_rate),
    )


def _same_kind(found: NetworkConfig, hidden: int, backbone: BackboneName) -> bool:
    return (found.hidden, found.backbone) == (hidden, backbone)


def _warm(fitting: FitModelConfig, rate: float) -> FitModelConfig:
    """Less, and more gently, for weights that know most of it already."""
    train, combiner = fitting.train, fitting.combiner
    return replace(
        fitting,
        most_examples=min(fitting.most_examples, fitting.enough_held_out),
        train=replace(train, actions=train.actions // 2, least_epochs=1, learning_rate=train.learning_rate * rate),
        combiner=replace(combiner, examples=combiner.examples // 3, least_epochs=2),
    )
