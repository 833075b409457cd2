"""`nextact compile`: compiles the loops of workers and trainers ahead, so that they need not at their start.

Which code a loop becomes depends on the types that it is called with. So all is called here as workers and trainers
call it: made-up events become a history, two rounds of training learn from it, and what comes of them answers others.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Final, get_args

import msgspec
import torch
from aiokafka import ConsumerRecord

from model.data.disk_log import TrainingWindow, window_of_chunks
from model.data.events import actions_of
from model.evaluation.gate import GateConfig
from model.fusion.combiner import CombinerConfig
from model.items.attributes import completed
from model.network.backbones import BackboneName
from model.rounds.drift import DriftMonitor
from model.rounds.fit_model import FitModelConfig
from model.rounds.initial_network import warm_start
from model.rounds.training_report import card
from model.rounds.training_round import RoundConfig, train_round, unsaved
from model.serving.served_ranking import RankedBy
from model.serving.serving import serve
from model.statistics.log_statistics import counter_of
from model.training.fit_network import TrainConfig
from model.versions.version import Version, VersionContents, load, save
from stream_app.contract.events import decode_batch
from stream_app.device import CPU
from stream_app.errors import SettingsInvalid
from stream_app.following.content import Origin
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Span, Stream
from stream_app.history.rows import rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.items.local_catalogue import LocalCatalogue
from stream_app.sandbox.simulate import Shop
from stream_app.settings import Settings
from stream_app.statistics import live_counting
from stream_app.worker.warm_up import warm_up

EVENTS: Final = 4_000  # that are made up, in two files of the history
_BEGIN_S: Final = 1_700_000_000.0  # time of the first event, in seconds since the epoch
_SMALL_ROOM: Final = 1_000  # actions of a log that may be in memory: the others go to disk
_LARGE: Final = 10_000  # items of a catalogue that is searched by coarse scores
# Lets every round pass: what follows a verdict is compiled, too, such as what fits profiles.
_GATE: Final = GateConfig(recall_margin=1.0, mrr_margin=1.0, purchase_margin=1e9, ahead=-1.0, change=1.0, slowest=1e3)
_FITTING: Final = FitModelConfig(
    from_scratch=False,
    train=TrainConfig(actions=4_000, least_epochs=1, least_batches=10),
    combiner=CombinerConfig(examples=500, least_epochs=1, least=50),
)


@dataclass(frozen=True, slots=True)
class CompiledFolder:
    """What a folder has of compiled loops."""

    path: Path
    loops: int
    size: int  # bytes

    @classmethod
    def of(cls, path: Path) -> CompiledFolder:
        """Looks into a folder."""
        sizes = [file.stat().st_size for file in path.rglob("*.nbc")]
        return cls(path, len(sizes), sum(sizes))


def compile_all(settings: Settings, say: Callable[[str], None]) -> CompiledFolder:
    """Calls all loops, and says what it is at. Raises `SettingsInvalid` for a folder that cannot be written."""
    folder = _writable(settings.cache_dir)
    settings = settings.model_copy(update={"device": "cpu"})
    with TemporaryDirectory() as scratch, ExitStack() as files:
        with _said(say, "a worker without a version"):
            warm_up(settings, CPU, None)
        with _said(say, "a history"):
            windows = [_window(Path(scratch), room, files) for room in (EVENTS, _SMALL_ROOM)]
        with _said(say, "a catalogue of items"):
            _catalogue(Path(scratch))
        with _said(say, "statistics of items"):
            live_counting.warm_up()
        for backbone in get_args(BackboneName):
            version: Version | None = None
            for number, window in enumerate(windows, 1):
                with _said(say, f"round {number} of training, {backbone}"):
                    config = replace(
                        RoundConfig(), hidden=settings.hidden, backbone=backbone, fitting=_FITTING, gate=_GATE
                    )
                    version = _round(window, version, config, Path(scratch, f"{backbone}{number}"))
            assert version is not None
            large = _grown(version, windows[0], Path(scratch, f"{backbone}-large"))
            for one, ranked_by in product((version, large), get_args(RankedBy)):
                with _said(say, f"a worker with {len(one.vocabulary):,} items, {backbone}, {ranked_by}"):
                    warm_up(settings, CPU, serve(one, CPU, ranked_by, settings.ranking_threads))
    return CompiledFolder.of(folder)


def _writable(folder: str) -> Path:
    if not folder:
        raise SettingsInvalid("say where to keep what is compiled: NEXTACT_CACHE_DIR or --cache-dir")
    path = Path(folder).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()
    except OSError as error:
        raise SettingsInvalid(
            f"what is compiled cannot be kept in {str(path)!r} (NEXTACT_CACHE_DIR): {error.strerror}"
        ) from error
    return path


@contextmanager
def _said(say: Callable[[str], None], what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    say(f"{time.perf_counter() - start:6.1f} s  {what}")


def _window(scratch: Path, room: int, files: ExitStack) -> TrainingWindow:
    """A window on a history with made-up events, which is read as a trainer reads it."""
    folder = scratch / f"history-{room}"
    with closing(EventHistory(HistoryStorage(str(folder)))) as history:
        records, half = _records(), EVENTS // 2
        for first in (0, half):
            rows = rows_of(0, range(first, first + half), decode_batch(records[first : first + half]))
            history.append([rows], Stream("", "", 1), {0: Span(first, first + half)}, written=records[-1].timestamp)
        window = window_of_chunks(history.chunks(EVENTS), rows=EVENTS, room=room, folder=scratch, files=files)
        DriftMonitor(window.log).add(next(history.chunks(EVENTS)))
    return window


def _catalogue(scratch: Path) -> None:
    """A catalogue that items come into, change in, leave, and are asked for, before and after it lay on disk."""
    events = decode_batch(_records()[:100]).events
    ids = list(dict.fromkeys(event.item_id for event in events if event.item_id)) + [f"other-{n}" for n in range(400)]
    value = msgspec.json.encode({"title": "item", "category": "a > b", "markets": {"DE": {"price": 1}}})
    first, second = LocalCatalogue(scratch / "items", time.time), LocalCatalogue(scratch / "items", time.time)
    first.apply([_item(item_id, value) for item_id in ids])
    first.apply([_item(ids[0], None)])
    first.save(Origin("", ""), {})
    second.load(Origin("", ""), {}, _BEGIN_S)
    second.items.compact()
    for each in (first, second):
        completed(actions_of(events, [0] * len(events)), ["DE"] * len(events), each.items)
        each.close()


def _records() -> list[ConsumerRecord[bytes, bytes]]:
    shop = Shop(1, start=_BEGIN_S, items=100, users=150)
    return [_record(offset, event) for offset, event in enumerate(shop.events(EVENTS))]


def _record(offset: int, event: dict[str, object]) -> ConsumerRecord[bytes, bytes]:
    key, value = str(event["user_id"]).encode(), msgspec.json.encode(event)
    time_ms = int(1000 * _BEGIN_S) + offset
    return ConsumerRecord("made-up", 0, offset, time_ms, 0, key, value, None, len(key), len(value), ())


def _item(item_id: str, value: bytes | None) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("made-up", 0, 0, 0, 0, item_id.encode(), value, None, -1, -1, ())


def _round(window: TrainingWindow, champion: Version | None, config: RoundConfig, folder: Path) -> Version:
    """Trains a version."""
    result = train_round(window, champion, config, device=CPU, clock=time.thread_time)
    card(folder.name, result.report, result.verdict.sentence, result.metrics())
    return _read_back(unsaved(result.model, trained_until=int(1000 * _BEGIN_S)), folder)


def _grown(version: Version, window: TrainingWindow, folder: Path) -> Version:
    """The same version with many more items."""
    items = (f"item-{number}" for number in range(_LARGE))
    vocabulary = version.vocabulary.grown([*version.vocabulary.items, *items])
    network = warm_start(version, vocabulary, torch.Generator().manual_seed(1))
    fusion = replace(version.fusion, statistics=counter_of(window.log).table)
    return _read_back(replace(version, network=network, vocabulary=vocabulary, fusion=fusion), folder)


def _read_back(version: Version, folder: Path) -> Version:
    """Writes a version to a folder and reads it as a worker does: what it has then is of other types."""
    fields = {field.name: getattr(version, field.name) for field in dataclasses.fields(VersionContents)}
    save(str(folder), VersionContents(**fields | {"name": folder.name, "created": "2026-01-01T00:00:00+00:00"}))
    return load(str(folder))
