"""`nextact evaluate`: reads logs, trains or loads a model, and measures it and the baselines on the same targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from model.errors import TooLittleData, VersionRefused
from model.evaluation.baselines import ItemIndex
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.probability_quality import ProbabilityQuality
from model.evaluation.purchase_quality import purchase_quality
from model.evaluation.quality import QualityMeter, slices
from model.evaluation.ranking import RankedTargets, Ranker, Ranking, rank_all
from model.evaluation.split import Split, split_log, split_sessions
from model.items.catalogue import ItemCatalogue
from model.rounds.experiment import BASELINES, fit_on_split, quality_by_epoch
from model.rounds.fit_model import Model
from model.training.fit_run import Progress
from model.versions.version import Version, load
from stream_app.device import choose_device
from stream_app.errors import InputUnreadable, UsageError, VersionUnusable
from stream_app.offline.event_files import EventFile, event_file
from stream_app.offline.item_files import ItemFile, catalogue_of
from stream_app.offline.log_reader import LogReader
from stream_app.offline.progress import ProgressLine
from stream_app.offline.report import MODEL, NETWORK, DataSummary, Report, TrainingSummary
from stream_app.offline.session_files import read_examples, read_sessions
from stream_app.settings import Settings


@dataclass(frozen=True, slots=True)
class DataSource:
    """The files to learn from and to predict: logs of events, or sessions and examples."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    log_options: Mapping[str, Any] | None  # how to read logs; None: sessions and examples
    version: str | None = None  # directory of a version to score instead of training one
    items: str | None = None  # file of a catalogue, which says what events do not say of their items

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DataSource:
        """Reads the options of the command. Raises `UsageError` unless they name one pair of files."""
        logs, lists = (options["events"], options["test_events"]), (options["train_sessions"], options["test_examples"])
        if all(logs) and not any(lists):
            return cls(*logs, options, options["version"], options.get("items"))
        if all(lists) and not any(logs) and not options.get("items"):
            return cls((lists[0],), (lists[1],), None, options["version"])
        raise UsageError(
            "say what to learn from and what to predict: --events and --test-events, "
            "or --train-sessions and --test-examples, which have no --items"
        )


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
        split = _split(source, progress)
        epochs = _epochs(split, settings, device, progress) if by_epoch and not source.version else []
        measured = _measured_model(source, split, settings, device, progress)
    except TooLittleData as error:
        raise InputUnreadable(f"{', '.join((*source.train, *source.test))}: {error}") from error
    items = ItemIndex(split.known)
    ranked = {name: _rank(name, ranker, split, progress) for name, ranker in measured.rankers.items()}
    for baseline, make in BASELINES.items():
        progress(f"learning {baseline}")
        ranked[baseline] = _rank(baseline, make(split.known, items), split, progress)
    progress.close()
    return _report(source, split, items, ranked, epochs, measured, begun)


def _split(source: DataSource, progress: ProgressLine) -> Split:
    progress("reading")
    if source.log_options is None:
        return split_sessions(read_sessions(source.train[0]), read_examples(source.test[0]))
    reader = LogReader(
        progress=lambda rows: progress("reading", f"{rows:,} events"), catalogue=_catalogue(source, progress)
    )
    train, test = (_logs(paths, source.log_options) for paths in (source.train, source.test))
    before, after = reader.read(train), reader.read(test)
    if reader.left_out:
        progress.note(f"{reader.left_out:,} of {reader.rows:,} rows are not events; the first is {reader.first_fault}")
    cut = int(after.times.min())
    late = int((before.times >= cut).sum())
    if late:
        progress.note(
            f"{late:,} events of --events lie at or after the first of --test-events: they are predicted as well"
        )
    return split_log([before, after], cut)


def _catalogue(source: DataSource, progress: ProgressLine) -> ItemCatalogue | None:
    if source.items is None:
        return None
    file = ItemFile(source.items)
    catalogue = catalogue_of(file, lambda rows: progress("reading", f"{rows:,} items"))
    if file.left_out:
        progress.note(f"{file.left_out:,} of {file.rows:,} rows are not items; the first is {file.first_fault}")
    return catalogue


def _logs(paths: Iterable[str], log_options: Mapping[str, Any]) -> list[EventFile]:
    return [event_file(path, log_options) for path in paths]


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

    rankers: dict[str, Ranker]
    purchase: ProbabilityQuality | None
    training: TrainingSummary | None


def _measured_model(
    source: DataSource, split: Split, settings: Settings, device: torch.device, progress: ProgressLine
) -> _MeasuredModel:
    if source.version:
        version = _load(source.version)
        _warn_of_leaks(version, split, progress)
        return _MeasuredModel(_rankers(version.name, version, device), _purchases(version, split), None)
    begun = time.perf_counter()
    model = fit_on_split(
        split, hidden=settings.hidden, seed=settings.seed, device=device, tell=_show_training(progress)
    )
    training = TrainingSummary.of(model.report, time.perf_counter() - begun)
    return _MeasuredModel(_rankers(MODEL, model, device), _purchases(model, split), training)


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
