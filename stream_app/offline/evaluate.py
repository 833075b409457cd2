"""`nextact evaluate`: reads, trains or loads, and measures everything that ranks on the same targets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click
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
from model.rounds.experiment import BASELINES, fit_on_split, quality_by_epoch
from model.rounds.fit_model import Model
from model.training.fit_run import Progress
from model.versions.version import Version, load
from stream_app.device import choose_device
from stream_app.errors import InputUnreadable, UsageError, VersionUnusable
from stream_app.offline.event_files import event_log
from stream_app.offline.log_reader import LogReader
from stream_app.offline.report import MODEL, NETWORK, Data, Report, Training
from stream_app.offline.session_files import read_examples, read_sessions
from stream_app.settings import Settings

_EVERY_S: Final = 15.0  # between two lines about the same stage where there is no terminal


@dataclass(frozen=True, slots=True)
class DataSource:
    """Files to learn from and to foresee: logs of events, or sessions and examples."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    reading: Mapping[str, Any] | None  # options of logs; None: sessions and examples
    version: str | None = None  # directory of a version to score, in place of training

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> DataSource:
        """What the options of the command say. Raises `UsageError` unless it is one pair of files."""
        logs, lists = (given["events"], given["test_events"]), (given["train_sessions"], given["test_examples"])
        if all(logs) and not any(lists):
            return cls(*logs, given, given["place"])
        if all(lists) and not any(logs):
            return cls((lists[0],), (lists[1],), None, given["place"])
        raise UsageError(
            "say what to learn from and what to foresee: --events and --test-events, "
            "or --train-sessions and --test-examples"
        )


class ProgressLine:
    """Says on standard error what goes on: one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, terminal: bool | None = None) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._stage = ""
        self._due = 0.0

    def __call__(self, stage: str, detail: str = "") -> None:
        """A stage has begun, or got further."""
        line = f"{stage}: {detail}" if detail else stage
        if self._terminal:
            click.echo(f"\r\033[K{line}", nl=False, err=True)
        elif stage != self._stage or self._clock() >= self._due:
            click.echo(line, err=True)
            self._due = self._clock() + _EVERY_S
        self._stage = stage

    def note(self, line: str) -> None:
        """Something that stays to be read."""
        self.close()
        click.echo(line, err=True)

    def close(self) -> None:
        """Clears the line on a terminal."""
        if self._terminal:
            click.echo("\r\033[K", nl=False, err=True)


def run_evaluation(
    settings: Settings, source: DataSource, *, by_epoch: bool, tell: ProgressLine | None = None
) -> Report:
    """Measures the model and all baselines; `by_epoch` trains once more, to see how good each epoch was.

    Raises `UsageError` for files, versions and devices that cannot be used.
    """
    tell = tell or ProgressLine()
    begun = time.perf_counter()
    device = choose_device(settings.device, fallback=settings.device_fallback)
    try:
        split = _split(source, tell)
        epochs = _epochs(split, settings, device, tell) if by_epoch and not source.version else []
        scored = _model(source, split, settings, device, tell)
    except TooLittleData as error:
        raise InputUnreadable(f"{', '.join((*source.train, *source.test))}: {error}") from error
    items = ItemIndex(split.known)
    ranked = {name: _ranked(name, ranker, split, tell) for name, ranker in scored.rankers.items()}
    for baseline, make in BASELINES.items():
        tell(f"learning {baseline}")
        ranked[baseline] = _ranked(baseline, make(split.known, items), split, tell)
    tell.close()
    return _report(source, split, items, ranked, epochs, scored, begun)


def _split(source: DataSource, tell: ProgressLine) -> Split:
    tell("reading")
    if source.reading is None:
        return split_sessions(read_sessions(source.train[0]), read_examples(source.test[0]))
    reader = LogReader(progress=lambda rows: tell("reading", f"{rows:,} events"))
    train, test = (_logs(paths, source.reading) for paths in (source.train, source.test))
    before, after = reader.read(train), reader.read(test)
    if reader.left_out:
        tell.note(f"{reader.left_out:,} of {reader.rows:,} rows are no events; the first is {reader.first_fault}")
    cut = int(after.times.min())
    late = int((before.times >= cut).sum())
    if late:
        tell.note(f"{late:,} events of --events lie at or after the first of --test-events: they are foreseen as well")
    return split_log([before, after], cut)


def _logs(paths: Iterable[str], reading: Mapping[str, Any]) -> list[Any]:
    return [event_log(path, reading) for path in paths]


def _epochs(split: Split, settings: Settings, device: torch.device, tell: ProgressLine) -> list[Ranking]:
    told = _telling(tell)
    return quality_by_epoch(
        split,
        hidden=settings.hidden,
        seed=settings.seed,
        device=device,
        progress=lambda progress: told("quality by epoch", progress),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """What is measured, by name, and what training did where there was any."""

    rankers: dict[str, Ranker]
    purchase: ProbabilityQuality | None
    training: Training | None


def _model(source: DataSource, split: Split, settings: Settings, device: torch.device, tell: ProgressLine) -> _Scored:
    if source.version:
        version = _load(source.version)
        _warn_of_leaks(version, split, tell)
        return _Scored(_rankers(version.name, version, device), _purchases(version, split), None)
    begun = time.perf_counter()
    model = fit_on_split(split, hidden=settings.hidden, seed=settings.seed, device=device, tell=_telling(tell))
    training = Training.of(model.report, time.perf_counter() - begun)
    return _Scored(_rankers(MODEL, model, device), _purchases(model, split), training)


def _rankers(name: str, of: Version | Model, device: torch.device) -> dict[str, Ranker]:
    return {
        name: FusionRanker(of.network, of.vocabulary, of.fusion, device),
        NETWORK: NetworkRanker(of.network, of.vocabulary, device),
    }


def _purchases(of: Version | Model, split: Split) -> ProbabilityQuality | None:
    return purchase_quality(of.network.purchase, of.vocabulary, of.calibration, split.holdout.sequences, cut=split.cut)


def _load(place: str) -> Version:
    try:
        return load(place)
    except VersionRefused as refusal:
        raise VersionUnusable(f"--model {place}: {refusal.reason}: {refusal}") from refusal


def _warn_of_leaks(version: Version, split: Split, tell: ProgressLine) -> None:
    until = int(version.facts.get("trained_until", 0))
    if split.timed and until >= split.cut:
        moment = datetime.fromtimestamp(until / 1000, UTC)
        tell.note(f"{version.name} has learned from events until {moment:%Y-%m-%d %H:%M} UTC: it knows of the test")


def _telling(tell: ProgressLine) -> Callable[[str, Progress], None]:
    def told(stage: str, progress: Progress) -> None:
        share = progress.step / max(1, progress.steps)
        tell(stage, f"{share:4.0%}, loss {sum(progress.losses.values()):.3f}")

    return told


def _ranked(name: str, ranker: Ranker, split: Split, tell: ProgressLine) -> RankedTargets:
    total = len(split.holdout)
    return rank_all(ranker, split.holdout, lambda done: tell(f"scoring {name}", f"{done:,} of {total:,} targets"))


def _report(
    source: DataSource,
    split: Split,
    items: ItemIndex,
    ranked: Mapping[str, RankedTargets],
    epochs: list[Ranking],
    scored: _Scored,
    begun: float,
) -> Report:
    yardstick = QualityMeter(items)
    return Report(
        data=Data(
            train=source.train,
            test=source.test,
            events=len(split.known),
            users=len(split.known.offsets) - 1,
            items=len(items),
            targets=len(split.holdout),
        ),
        whole={name: yardstick.measure(found) for name, found in ranked.items()},
        slices={
            kind: {
                part: {name: yardstick.measure(found, chosen) for name, found in ranked.items()}
                for part, chosen in parts.items()
            }
            for kind, parts in slices(split, items.item_keys).items()
        },
        purchase=scored.purchase,
        epochs=epochs,
        training=scored.training,
        seconds=time.perf_counter() - begun,
    )
