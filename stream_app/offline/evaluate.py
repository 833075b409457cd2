"""`nextact evaluate`: reads logs, trains or loads a model, and measures it and the baselines on the same targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from model.errors import TooLittleData, VersionRefused
from model.evaluation.baselines import ItemIndex
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.probability_quality import ProbabilityQuality
from model.evaluation.purchase_quality import purchase_quality
from model.evaluation.quality import QualityMeter, slices
from model.evaluation.ranking import RankedTargets, Ranker, Ranking, rank_all
from model.evaluation.split import Split
from model.rounds.experiment import BASELINES, fit_on_split, quality_by_epoch
from model.rounds.fit_model import Model
from model.training.fit_run import FitRun, Progress
from model.versions.version import Version, load
from stream_app.device import choose_device
from stream_app.errors import InputUnreadable, VersionUnusable
from stream_app.offline.evaluation_data import DataSource, EvaluationData, read_data
from stream_app.offline.live_report import LiveReport
from stream_app.offline.live_run import LiveRun, live_model, run_live
from stream_app.offline.profiles.preferences import report_preferences
from stream_app.offline.profiles.scores import report_scores
from stream_app.offline.profiles.segments import report_segments
from stream_app.offline.progress import ProgressLine
from stream_app.offline.report import MODEL, NETWORK, DataSummary, Report, TrainingSummary
from stream_app.settings import Settings


def run_evaluation(
    settings: Settings, source: DataSource, *, by_epoch: bool, progress: ProgressLine | None = None
) -> Report:
    """Measures the model and all baselines; with `by_epoch`, trains once more to see how good each epoch was.

    Raises `UsageError` for files, versions and devices that cannot be used.
    """
    progress = progress or ProgressLine()
    begun = time.perf_counter()
    device = choose_device(settings.device, fallback=settings.device_fallback)
    try:
        data = read_data(source, settings, progress)
        split = data.split
        epochs = _epochs(split, settings, device, progress) if by_epoch and not source.version else []
        measured = _measured_model(source, split, settings, device, progress)
    except TooLittleData as error:
        raise InputUnreadable(f"{', '.join((*source.train, *source.test))}: {error}") from error
    items = ItemIndex(split.known)
    ranked = {name: _rank(name, ranker, split, progress) for name, ranker in measured.rankers.items()}
    for baseline, make in BASELINES.items():
        progress(f"learning {baseline}")
        ranked[baseline] = _rank(baseline, make(split.known, items), split, progress)
    live = _run_live(source, data, measured, settings, device, progress)
    progress("preferences")
    preferences = report_preferences(measured.version, split, FitRun(device, settings.seed))
    progress("scores and segments")
    scores = report_scores(measured.version, split, settings.seed)
    segments = report_segments(measured.version, split, settings.seed)
    progress.close()
    report = _report(source, split, items, ranked, epochs, measured, begun)
    return replace(report, live=live, scores=scores, segments=segments, preferences=preferences)


def _run_live(
    source: DataSource,
    data: EvaluationData,
    measured: _MeasuredModel,
    settings: Settings,
    device: torch.device,
    progress: ProgressLine,
) -> LiveReport | None:
    """Scores the model live, if that is asked for. Raises `InputUnreadable` where nothing can be scored."""
    if data.live is None or source.live_lag is None:
        return None
    progress("live: the rules learn what was before")
    model, events = live_model(measured.version, data.split), len(data.live.records)
    scores = run_live(
        LiveRun(model, data.live, lag=source.live_lag, catalogue=data.catalogue),
        settings,
        device,
        lambda done: progress("live", f"{done:,} of {events:,} events"),
    )
    if not len(scores):
        raise InputUnreadable(
            f"{', '.join(source.test)}: nothing to score live: no user does something on an item after another event"
        )
    return LiveReport(measured.name, scores, source.live_lag)


def _epochs(split: Split, settings: Settings, device: torch.device, progress: ProgressLine) -> list[Ranking]:
    show = _show_training(progress)
    return quality_by_epoch(
        split,
        hidden=settings.hidden,
        seed=settings.seed,
        device=device,
        progress=lambda step: show("quality by epoch", step),
    )


@dataclass(frozen=True, slots=True)
class _MeasuredModel:
    """The model's rankers by name, its purchase probabilities, and its training where it was trained here."""

    version: Version | Model
    rankers: dict[str, Ranker]
    purchase: ProbabilityQuality | None
    training: TrainingSummary | None

    @property
    def name(self) -> str:
        """The model's name among the rankers."""
        return next(iter(self.rankers))


def _measured_model(
    source: DataSource, split: Split, settings: Settings, device: torch.device, progress: ProgressLine
) -> _MeasuredModel:
    if source.version:
        version = _load(source.version)
        _warn_of_leaks(version, split, progress)
        return _MeasuredModel(version, _rankers(version.name, version, device), _purchases(version, split), None)
    begun = time.perf_counter()
    model = fit_on_split(
        split,
        hidden=settings.hidden,
        seed=settings.seed,
        device=device,
        tell=_show_training(progress),
        live=source.live_lag is not None,
    )
    training = TrainingSummary.of(model.report, time.perf_counter() - begun)
    offline = model if model.still is None else replace(model, fusion=model.still)
    return _MeasuredModel(model, _rankers(MODEL, offline, device), _purchases(model, split), training)


def _rankers(name: str, model: Version | Model, device: torch.device) -> dict[str, Ranker]:
    return {
        name: FusionRanker(model.network, model.vocabulary, model.fusion, device),
        NETWORK: NetworkRanker(model.network, model.vocabulary, device),
    }


def _purchases(model: Version | Model, split: Split) -> ProbabilityQuality | None:
    return purchase_quality(
        model.network.purchase, model.vocabulary, model.calibration, split.holdout.sequences, cut=split.cut
    )


def _load(directory: str) -> Version:
    try:
        return load(directory)
    except VersionRefused as refusal:
        raise VersionUnusable(f"--model {directory}: {refusal.reason}: {refusal}") from refusal


def _warn_of_leaks(version: Version, split: Split, progress: ProgressLine) -> None:
    until = int(version.facts.get("trained_until", 0))
    if split.timed and until >= split.cut:
        moment = datetime.fromtimestamp(until / 1000, UTC)
        progress.note(f"{version.name} has learned from events until {moment:%Y-%m-%d %H:%M} UTC: it knows of the test")


def _show_training(progress: ProgressLine) -> Callable[[str, Progress], None]:
    def show(stage: str, step: Progress) -> None:
        share = step.step / max(1, step.steps)
        progress(stage, f"{share:4.0%}, loss {sum(step.losses.values()):.3f}")

    return show


def _rank(name: str, ranker: Ranker, split: Split, progress: ProgressLine) -> RankedTargets:
    total = len(split.holdout)
    return rank_all(ranker, split.holdout, lambda done: progress(f"scoring {name}", f"{done:,} of {total:,} targets"))


def _report(
    source: DataSource,
    split: Split,
    items: ItemIndex,
    ranked: Mapping[str, RankedTargets],
    epochs: list[Ranking],
    measured: _MeasuredModel,
    begun: float,
) -> Report:
    meter = QualityMeter(items, split.holdout.item_keys)
    return Report(
        data=DataSummary(
            train=source.train,
            test=source.test,
            events=split.known.event_count,
            users=len(split.known.offsets) - 1,
            items=len(items),
            targets=len(split.holdout),
        ),
        whole={name: meter.measure(targets) for name, targets in ranked.items()},
        slices={
            kind: {
                label: {name: meter.measure(targets, subset) for name, targets in ranked.items()}
                for label, subset in subsets.items()
            }
            for kind, subsets in slices(split, items.item_keys).items()
        },
        purchase=measured.purchase,
        epochs=epochs,
        training=measured.training,
        seconds=time.perf_counter() - begun,
    )
