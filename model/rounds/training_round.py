"""One round of training: from a log and the champion to a challenger and a verdict on it.

The challenger learns from all but the newest slice of time. On that slice, which neither it nor the champion has seen,
it is judged: with the items, attributes and statistics of the time before, an item that appeared in it is a miss. Once
the challenger has won it learns from that slice, and its items, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import torch

from model.data.disk_log import TrainingWindow
from model.data.event_log import EventLog, active_sequences, held_out_share
from model.data.events import NO_TIME, Actions
from model.data.log_summary import LogSummary, summarise
from model.data.vocabulary import Vocabulary
from model.errors import TooLittleData
from model.evaluation.evaluate import Evaluation, TimeSlice, evaluate_all, served_quality
from model.evaluation.gate import DEPTH, GateConfig, Verdict, check_published, judge
from model.evaluation.judged_users import judged_users
from model.evaluation.ranking import Ranking, ranking
from model.fusion.combiner import CombinerConfig
from model.network.backbones import BackboneName
from model.network.network import LARGE_WORDS, NetworkConfig, WordRows
from model.profile.profile import NO_PROFILE
from model.profile_fit.fit_profile import FittedModel, fit_profile
from model.rounds.fit_model import FitModelConfig, Model, Sample, StartingPoint, fine_tune, fit_model
from model.rounds.fit_purchases import fit_purchases
from model.rounds.initial_network import carried_over, cold_start_for, warm_start, with_word_rows, word_rows_for
from model.rounds.item_age import without_forgotten
from model.rounds.latency import Clock, seconds_per_event
from model.rounds.rehearsal import rehearsal
from model.rounds.training_report import LossCurve, TrainingReport, data_window, quality_by_slice
from model.serving.serving import serve
from model.statistics.log_statistics import counter_of
from model.training.checkpoints import NO_CHECKPOINTS, Checkpoints, fingerprint_of
from model.training.fit_run import FitRun, Progress, Tell, tell_nobody
from model.versions.version import Fact, Version, VersionContents

LEAST_TARGETS: Final = 50  # held-out next items that a verdict needs
_OF_CHAMPION: Final = ("purchase_log_loss",)  # figures of a champion that are kept beside those of rankings at 20


@dataclass(frozen=True, slots=True)
class RoundConfig:
    """How to run a round."""

    hidden: int = 128  # units
    backbone: BackboneName = "gru"
    holdout: float = 0.1  # newest share of the actions
    # Rounds are many, and the first one is waited for: one pass over what is new, instead of a second fit from scratch.
    fitting: FitModelConfig = field(
        default_factory=lambda: FitModelConfig(from_scratch=False, combiner=CombinerConfig(examples=60_000))
    )
    word_rows: WordRows = LARGE_WORDS  # of a network for a log with searches
    live: bool = True  # see `FitModelConfig.live`
    most_actions: int = 300_000  # that a network which starts from the champion learns from: new ones and a rehearsal
    warm_rate: float = 0.5  # of such a network's learning rate, as a share of a first version's
    gate: GateConfig = field(default_factory=GateConfig)
    most_targets: int = 20_000  # that a round is judged by: a point of Recall@20 is then three standard errors
    item_days: float = 90.0  # after its last event an item leaves; 0: never
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """A challenger, how good it is beside the champion, and the verdict."""

    model: Model
    challenger: Evaluation
    champion: Evaluation | None
    verdict: Verdict
    trained_until: int  # time of the newest action that the model has learned from, ms
    report: TrainingReport
    published: Ranking | None = None  # of what is served, on the slice that it was judged by and has learned since

    def metrics(self) -> dict[str, float]:
        """Returns the challenger's metrics, the champion's on the same targets, those of what is published, and the
        gate's."""
        metrics = self.challenger.metrics() | self.verdict.metrics()
        if self.champion is not None:
            theirs = self.champion.metrics()
            metrics |= {f"champion_{name}": theirs[name] for name in theirs if "@20" in name or name in _OF_CHAMPION}
        if self.published is not None:
            metrics[f"published_recall@{DEPTH}"] = self.published.recall[DEPTH]
            metrics[f"published_mrr@{DEPTH}"] = self.published.mrr[DEPTH]
        return metrics

    def contents(self, name: str, created: str, facts: dict[str, Fact]) -> VersionContents:
        """Returns the challenger as a version that can be saved; `created` in RFC 3339."""
        model = self.model
        return VersionContents(
            name=name,
            created=created,
            network=model.network,
            vocabulary=model.vocabulary,
            calibration=model.calibration,
            fusion=model.fusion,
            metrics=self.metrics(),
            facts=facts,
            bins=model.bins,
            profile=model.profile,
        )


def train_round(
    window: TrainingWindow,
    champion: Version | None,
    config: RoundConfig,
    *,
    device: torch.device,
    clock: Clock,
    progress: Tell = tell_nobody,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Round:
    """Runs a round on a window of the log; `progress` hears of each step and may raise to end it.

    `clock` (seconds) times the answers of the challenger. An interrupted round resumes from the checkpoints when it is
    run again with the same arguments; the curve in its report then begins there.

    Raises `TooLittleData` when there is not enough to learn or to judge.
    """
    log, curve = window.log, LossCurve()
    config = replace(config, word_rows=word_rows_for(log, config.word_rows))
    summary = summarise(log, targets=LEAST_TARGETS)
    cut = _holdout_start(summary, held_out_share(log, config.holdout), champion)
    known, judged = log.before(cut), judged_users(active_sequences(log, cut), cut, config.most_targets, config.seed)
    settings = (champion and champion.manifest_sha256, config, device, summary.digest)
    checkpoints.begin(fingerprint_of(settings, tuple(window.items)))
    run = FitRun(device, config.seed, partial(_tell_both, curve, progress), checkpoints)
    start, fitting = _starting_point(champion, config), _fitting(champion, config)

    model = fit_model(known, summary.dated(window.items).before(cut), start, fitting, run)
    on_slice = TimeSlice(known, judged, cut, device)
    challenger, *incumbents = evaluate_all([unsaved(model), *([champion] if champion else [])], on_slice)
    incumbent = incumbents[0] if incumbents else None
    published = None
    verdict = judge(challenger, incumbent, _seconds_per_event(model, window.newest, device, clock), config.gate)
    if verdict.promoted:
        vocabulary = without_forgotten(
            model.vocabulary.grown(window.items),
            start.vocabulary,
            summary,
            config.item_days,
            _learned_until(champion) if champion else NO_TIME,
        )
        run = replace(run, seed=config.seed + 1)
        model = _taken_in(model, vocabulary, window.log, cut, start.sample, fitting, run)
        served = served_quality(unsaved(model), on_slice)
        model = _with_profile(model, window, champion, run)
        verdict, published = check_published(verdict, challenger, served, config.gate), ranking(served.ranks)
    quality = list(quality_by_slice(challenger, judged, summary.items_before(cut), cut))
    report = TrainingReport(data_window(summary, cut), quality, curve.points)
    trained_until = summary.span[1] if verdict.promoted else cut - 1
    return Round(model, challenger, incumbent, verdict, trained_until, report, published)


def _holdout_start(summary: LogSummary, share: float, champion: Version | None) -> int:
    """Returns from when on (ms) actions are held out: the newest share, but at most half of what the champion has not
    learned."""
    if not summary.events:
        raise TooLittleData("the log has no events: collect some first")
    newest = summary.newest(share)
    if newest <= summary.span[0]:
        raise TooLittleData(
            "the events of the log are of one or no known time: nothing can be held out, collect more events"
        )
    for cut in (max(newest, middle) for middle in (*_middle_of_the_new(summary, champion), newest)):
        if _targets_from(summary, cut) >= LEAST_TARGETS:
            return cut
    raise TooLittleData(
        f"only {_targets_from(summary, newest)} held-out actions on items follow another of their user; "
        f"a verdict needs {LEAST_TARGETS}: collect more events"
    )


def _middle_of_the_new(summary: LogSummary, champion: Version | None) -> tuple[int, ...]:
    """Returns the middle (ms) of the actions that the champion has not learned from, and their beginning; nothing
    without a champion or such actions."""
    if champion is None:
        return ()
    learned_until = _learned_until(champion)
    new = summary.times[summary.times > learned_until]
    return (int(np.quantile(new, 0.5, method="higher")), learned_until + 1) if len(new) else ()


def _learned_until(champion: Version) -> int:
    return int(champion.facts.get("trained_until", 0))


def _targets_from(summary: LogSummary, cut: int) -> int:
    """Counts the targets from `cut` (ms) on, up to LEAST_TARGETS."""
    return int((summary.newest_targets >= cut).sum())


def _starting_point(champion: Version | None, config: RoundConfig) -> StartingPoint:
    """Starts from the champion where it is of the configured kind, else from nothing; its items keep their rows."""
    if champion is None or not _same_kind(champion, config):
        shape = NetworkConfig(items=0, hidden=config.hidden, backbone=config.backbone, word_rows=config.word_rows)
        start = StartingPoint(partial(cold_start_for, shape, config.seed))
        return start if champion is None else replace(start, vocabulary=champion.vocabulary)
    return StartingPoint(
        lambda vocabulary: with_word_rows(
            warm_start(champion, vocabulary, torch.Generator().manual_seed(config.seed)), config.word_rows
        ),
        champion.vocabulary,
        champion.fusion.combiner,
        _sample(champion, config),
    )


def _sample(champion: Version, config: RoundConfig) -> Sample:
    """Picks what is new to the champion and some of the rest."""
    since, randomness = _learned_until(champion) + 1, np.random.default_rng(config.seed)
    return lambda log: rehearsal(log, since, config.most_actions, randomness)


def _fitting(champion: Version | None, config: RoundConfig) -> FitModelConfig:
    """Returns how to fit: less, and more gently, where the weights start from a champion that knows most of it."""
    fitting = replace(config.fitting, live=config.live)
    if champion is None or not _same_kind(champion, config):
        return fitting
    train, combiner = fitting.train, fitting.combiner
    rate = train.learning_rate * config.warm_rate
    return replace(
        fitting,
        most_examples=min(fitting.most_examples, fitting.enough_held_out),
        train=replace(train, actions=train.actions // 2, least_epochs=1, learning_rate=rate),
        combiner=replace(combiner, examples=combiner.examples // 3, least_epochs=2),
    )


def _same_kind(champion: Version, config: RoundConfig) -> bool:
    network = champion.network.config
    return (network.hidden, network.backbone) == (config.hidden, config.backbone)


def _tell_both(curve: LossCurve, progress: Tell, stage: str, step: Progress) -> None:
    curve.add(stage, step)
    progress(stage, step)


def _seconds_per_event(model: Model, actions: Actions, device: torch.device, clock: Clock) -> float:
    return seconds_per_event(serve(unsaved(model), device), actions, device=device, clock=clock)


def _taken_in(
    model: Model,
    vocabulary: Vocabulary,
    log: EventLog,
    cut: int,
    sample: Sample,
    fitting: FitModelConfig,
    run: FitRun,
) -> Model:
    """Lets a model that has won take in what is new from `cut` (ms) on: items, their statistics, and everybody's
    actions; items that are not in the vocabulary leave it."""
    network = carried_over(model.network, model.vocabulary, vocabulary, run.seed)
    fine_tune(network, vocabulary, sample(log), cut, fitting.train, run)
    calibration = fit_purchases(network.purchase, vocabulary, log, seed=run.seed)
    fusion = replace(model.fusion, statistics=counter_of(log).table)
    return replace(model, network=network, vocabulary=vocabulary, fusion=fusion, calibration=calibration)


def _with_profile(model: Model, window: TrainingWindow, champion: Version | None, run: FitRun) -> Model:
    before = NO_PROFILE if champion is None else champion.profile
    fitted = FittedModel(model.network, model.vocabulary, model.fusion, window.log, window.prices, window.names, before)
    return replace(model, profile=fit_profile(fitted, run))


def unsaved(model: Model, **facts: Fact) -> Version:
    """Returns a model as a version that is in no registry."""
    return Version(
        name="unsaved",
        created="",
        manifest_sha256="",
        network=model.network,
        vocabulary=model.vocabulary,
        calibration=model.calibration,
        fusion=model.fusion,
        bins=model.bins,
        profile=model.profile,
        metrics={},
        facts=facts,
    )
