"""The trainer: what it publishes, when a round is due, and what becomes of rounds that fail."""

from __future__ import annotations

import asyncio
import itertools
import math
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model.data.disk_log import TrainingWindow, window_in_memory
from model.data.events import PURCHASE, Actions, concatenate
from model.data.sequences import sequences_of
from model.rounds.drift import DriftMonitor
from model.rounds.training_round import Round, RoundConfig, train_round
from model.versions.manifest import WEIGHTS
from model.versions.registry import describe, version_names
from model.versions.version import Version
from stream_app.errors import DeviceUnusable, HistoryFailed
from stream_app.history.event_history import EventHistory
from stream_app.history.storage import HistoryStorage
from stream_app.settings import Settings
from stream_app.trainer import trainer
from stream_app.trainer.round_journal import RoundJournal
from stream_app.versions.promotions import Promotion, VersionRef, promoted_after
from tests.unit.builders.rounds import CONFIG, circle
from tests.unit.builders.versions import NOON, save_version


def challenger(*, wins: bool) -> Any:
    """A round with a challenger, as far as the trainer looks at it."""
    recall = SimpleNamespace(served=SimpleNamespace(recall={20: 0.5}), rules=SimpleNamespace(recall={20: 0.1}))
    reason = "better" if wins else "no_better"
    return SimpleNamespace(
        verdict=SimpleNamespace(promoted=wins, reason=reason, sentence=reason),
        challenger=recall,
        metrics=lambda: {"recall@20": 0.5},
        model=SimpleNamespace(vocabulary=[]),
        report=SimpleNamespace(window=SimpleNamespace(events=800)),
    )


def outcome(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *champions: Promotion, wins: bool = True
) -> tuple[str, list[Promotion]]:
    """Of a round, and what it published; `champions` before and after the training, `folder` the registry."""
    serving, published = iter(champions), list[Promotion]()

    async def champion(*_: object) -> Promotion:
        return next(serving)

    async def publish(promotion: Promotion, *_: object) -> None:
        published.append(promotion)

    async def save(*_: Any) -> VersionRef:
        return save_version(folder / "new")

    async def round_() -> str:
        settings = Settings(device="cpu", registry=str(folder), registry_keep=1)
        made = trainer.Trainer(settings, clock=lambda: 0.0, progress=lambda _: None)
        monkeypatch.setattr(made, "_save", save)
        return await made._attempt(7)

    monkeypatch.setattr(
        trainer, "EventRecorder", lambda *_: SimpleNamespace(window=lambda *_: window_in_memory(circle()), events=800)
    )
    monkeypatch.setattr(trainer, "current_champion", champion)
    monkeypatch.setattr(trainer, "publish_promotion", publish)
    monkeypatch.setattr(trainer, "train_round", lambda *_, **__: challenger(wins=wins))
    return asyncio.run(round_()), published


def test_a_winner_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = promoted_after(None, save_version(tmp_path / "first"), {}, NOON)
    result, published = outcome(monkeypatch, tmp_path, first, first)
    assert result == "promoted"
    assert [promotion.version for promotion in published] == ["new"]


def test_a_version_on_trial_is_not_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Winners wait, the newest in place of those before; a champion that is taken back takes them along."""
    first = promoted_after(None, save_version(tmp_path / "first"), {}, NOON)
    second = promoted_after(first, save_version(tmp_path / "second"), {}, NOON)
    state = SimpleNamespace(now=NOON.timestamp(), champion=second, published=list[Promotion]())

    async def champion(*_: object) -> Promotion:
        return state.champion  # type: ignore[no-any-return]

    async def publish(promotion: Promotion, *_: object) -> None:
        state.published.append(promotion)
        state.champion = promotion

    async def save(*_: Any) -> VersionRef:
        return save_version(tmp_path / f"new-{state.now:.0f}")

    monkeypatch.setattr(
        trainer, "EventRecorder", lambda *_: SimpleNamespace(window=lambda *_: window_in_memory(circle()), events=800)
    )
    monkeypatch.setattr(trainer, "current_champion", champion)
    monkeypatch.setattr(trainer, "publish_promotion", publish)
    monkeypatch.setattr(trainer, "train_round", lambda *_, **__: challenger(wins=True))

    async def rounds() -> None:
        made = trainer.Trainer(
            Settings(device="cpu", registry=str(tmp_path), canary_seconds=600), clock=lambda: state.now, progress=print
        )
        monkeypatch.setattr(made, "_save", save)
        made._following = True
        for seconds in (10, 300):
            state.now = NOON.timestamp() + seconds
            assert await made._attempt(7) == "held"
            await made._promote_held()
            assert state.published == []
        state.now = NOON.timestamp() + 601
        await made._promote_held()
        assert [promotion.version for promotion in state.published] == [f"new-{NOON.timestamp() + 300:.0f}"]
        await made._promote_held()
        assert await made._attempt(7) == "held", "the one that has just begun is on trial, too"
        state.champion = first  # rolled back
        state.now += 600
        await made._promote_held()
        assert len(state.published) == 1
        made._following = False
        assert await made._attempt(7) == "promoted", "whoever asks for one round waits for nothing"

    asyncio.run(rounds())


def test_a_loser_is_kept_for_a_look_and_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = promoted_after(None, save_version(tmp_path / "first"), {}, NOON)
    assert outcome(monkeypatch, tmp_path, first, wins=False) == ("rejected", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "new"]


def test_old_versions_go_but_none_that_a_rollback_may_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        save_version(tmp_path / name)
    first = promoted_after(None, save_version(tmp_path / "c"), {}, NOON)
    second = promoted_after(first, save_version(tmp_path / "d"), {}, NOON)
    outcome(monkeypatch, tmp_path, second, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d", "new"]


def test_a_winner_over_a_version_that_was_rolled_back_meanwhile_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promoted_after(None, save_version(tmp_path / "first"), {}, NOON)
    second = promoted_after(first, save_version(tmp_path / "second"), {}, NOON)
    assert outcome(monkeypatch, tmp_path, second, first) == ("rejected", [])


def moved(events: int, **change: Any) -> DriftMonitor:
    """A monitor that learned from a circle of views, and what came since."""
    monitor = DriftMonitor(sequences_of(circle()))
    monitor.add(replace(circle(users=1, length=events), **change))
    return monitor


def due(monkeypatch: pytest.MonkeyPatch, drift: DriftMonitor | None, waited: float, limit: float = 0.25) -> bool:
    monkeypatch.setattr(trainer, "EventRecorder", lambda *_: SimpleNamespace(drift=drift))
    settings = Settings(device="cpu", train_every=300.0, drift_limit=limit)
    return trainer.Trainer(settings, clock=lambda: 0.0, progress=lambda _: None)._is_due(waited)


def test_a_round_is_due_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    assert due(monkeypatch, None, math.inf)
    assert due(monkeypatch, moved(800), 300.0)
    assert not due(monkeypatch, moved(800), 299.0)
    assert not due(monkeypatch, None, 299.0)


def test_drift_brings_a_round_forward_but_not_at_once_and_not_by_a_few_events(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bought = {"types": np.full(800, PURCHASE, np.uint8)}
    with caplog.at_level("INFO"):
        assert due(monkeypatch, moved(800, **bought), 61.0)
    assert "types have moved (stability index" in caplog.text
    assert not due(monkeypatch, moved(800, **bought), 59.0)
    assert not due(monkeypatch, moved(800, **bought), 61.0, limit=0.0)
    assert not due(monkeypatch, moved(400, types=bought["types"][:400]), 61.0)


def test_new_items_bring_a_round_forward(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    unseen = np.arange(10**6, 10**6 + 800).astype(np.uint64)
    with caplog.at_level("INFO"):
        assert due(monkeypatch, moved(800, item_keys=unseen), 61.0)
    assert "100% of the events are on new items" in caplog.text


def attempt(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    actions: Actions,
    *,
    registry: Path | None = None,
    champion: Promotion | None = None,
    now: float = NOON.timestamp(),
    train: Callable[..., Round] | None = None,
) -> str:
    """What comes of a round on these actions, a real and small one or `train`; it may publish nothing and leave no
    checkpoint."""

    async def current_champion(*_: object) -> Promotion | None:
        return champion

    async def round_() -> str:
        settings = Settings(device="cpu", registry=str(registry or folder / "models"), data_dir=folder / "data")
        made = trainer.Trainer(settings, clock=lambda: now, progress=lambda _: None)
        return await made._round(7)

    def small(window: TrainingWindow, champion: Version | None, _: RoundConfig, **options: Any) -> Round:
        return train_round(window, champion, CONFIG, **options)

    log = SimpleNamespace(window=lambda *_: window_in_memory(actions), events=7)
    monkeypatch.setattr(trainer, "EventRecorder", lambda *_: log)
    monkeypatch.setattr(trainer, "current_champion", current_champion)
    monkeypatch.setattr(trainer, "publish_promotion", None)
    monkeypatch.setattr(trainer, "train_round", train or small)
    outcome = asyncio.run(round_())
    assert [path for path in (folder / "data").rglob("*") if path.is_file()] == []
    return outcome


def test_an_empty_topic_is_a_round_that_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"), closing(EventHistory(HistoryStorage(str(tmp_path / "history")))) as history:
        assert attempt(monkeypatch, tmp_path, concatenate(list(history.chunks(1000, history.newest)))) == "skipped"
    assert "round skipped: the log has no events: collect some first" in caplog.text


def test_a_registry_that_is_full_or_cannot_be_written_fails_only_the_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "full" / NOON.strftime("%Y%m%dT%H%M%S.%fZ")
    full.mkdir(parents=True)
    (full / WEIGHTS).symlink_to("/dev/full")
    assert attempt(monkeypatch, tmp_path, circle(), registry=full.parent) == "failed"
    assert "round failed (registry), the champion stays" in caplog.text
    assert "No space left on device" in caplog.text
    assert list(full.parent.iterdir()) == []
    (tmp_path / "file").touch()
    caplog.clear()
    assert attempt(monkeypatch, tmp_path, circle(), registry=tmp_path / "file") == "failed"
    assert "cannot be written" in caplog.text
    assert "Is it there, with room and permission?" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Failed to find C compiler."), "round failed (device), the champion stays: RuntimeError: Failed"),
        (MemoryError("20 GiB"), "round failed (memory), the champion stays: MemoryError: 20 GiB"),
        (ValueError("a bug"), "round failed (other), the champion stays: ValueError: a bug"),
    ],
)
def test_whatever_a_round_raises_fails_only_the_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, line: str
) -> None:
    def fails(*_: Any, **__: Any) -> Round:
        raise error

    assert attempt(monkeypatch, tmp_path, circle(), train=fails) == "failed"
    assert line in caplog.text


def test_what_ends_the_data_path_or_the_process_ends_the_trainer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for error in (HistoryFailed("a file is gone"), trainer.RoundInterruption("the trainer is to stop")):

        def fails(*_: Any, error: Exception = error, **__: Any) -> Round:
            raise error

        with pytest.raises(type(error)):
            attempt(monkeypatch, tmp_path, circle(), train=fails)
    monkeypatch.setattr(trainer, "replicas", lambda: 2)
    with pytest.raises(ValueError, match="the other process waits"):
        attempt(monkeypatch, tmp_path, circle(), train=waited_for)


def test_a_device_that_is_lost_to_the_process_ends_the_trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trainer, "choose_device", lambda *_, **__: torch.device("meta"))  # nothing can be read from it
    with pytest.raises(DeviceUnusable, match="start it again"):
        attempt(monkeypatch, tmp_path, circle(), train=waited_for)


def waited_for(*_: Any, **__: Any) -> Round:
    raise ValueError("the other process waits")


def test_a_champion_that_has_vanished_is_logged_and_training_starts_from_scratch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = promoted_after(None, save_version(tmp_path / "models" / "gone"), {}, NOON)
    shutil.rmtree(tmp_path / "models" / "gone")
    with caplog.at_level("INFO"):
        assert attempt(monkeypatch, tmp_path, circle(), champion=gone) == "rejected"
    assert "the champion gone cannot be used, training starts from scratch" in caplog.text
    assert "round begins from nothing" in caplog.text


def test_events_from_the_future_do_not_count_as_learned_until_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert attempt(monkeypatch, tmp_path, circle(), now=1.5) == "rejected"
    (name,) = version_names(str(tmp_path / "models"))
    assert describe(name, str(tmp_path / "models" / name)).facts["trained_until"] == 1500


class FakeLog:
    """A log that grows by an event with every read; its history has files 1 to 9 with ten rows each."""

    drift = None

    def __init__(self) -> None:
        self.events, self.upkeeps = 100, 0
        self.history = SimpleNamespace(newest=9, files_until=lambda number: [SimpleNamespace(rows=10)] * number)

    async def start(self) -> None:
        """There is nothing to connect to."""

    async def read(self, timeout: float) -> None:
        """Reads an event."""
        self.events += 1
        await asyncio.sleep(0.001)

    async def read_to_end(self) -> None:
        """It never ends."""

    async def keep_up(self) -> None:
        """Merges files."""
        self.upkeeps += 1


def rounds_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, count: int, *, clock: Callable[[], float], **settings: Any
) -> list[tuple[int, int]]:
    """Up to which file rounds learned, and after how many upkeeps of the history; the last one is ended."""
    rounds: list[tuple[int, int]] = []

    async def until_enough() -> None:
        chosen = Settings(device="cpu", data_dir=folder, train_min_events=10, **settings)
        made = trainer.Trainer(chosen, clock=clock, progress=lambda _: None)
        log: Any = made._recorder

        async def attempted(until: int) -> str:
            rounds.append((until, log.upkeeps))
            if len(rounds) == count:
                task.cancel()
                await asyncio.sleep(60)
            return "rejected"

        monkeypatch.setattr(made, "_attempt", attempted)
        task = asyncio.create_task(made._rounds())
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    monkeypatch.setattr(trainer, "EventRecorder", lambda *_: FakeLog())
    asyncio.run(until_enough())
    return rounds


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_rounds_begin_in_time_though_the_clock_jumps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jump: float
) -> None:
    for every in (0.01, 0.2):
        times, begun = itertools.count(1.7e9, jump), time.monotonic()
        rounds_of(monkeypatch, tmp_path / str(every), 3, clock=times.__next__, train_every=every)
        assert time.monotonic() - begun > 2 * every


def test_an_interrupted_round_goes_on_with_the_files_that_it_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = partial(rounds_of, monkeypatch, tmp_path, clock=lambda: 0.0, train_every=0.01)
    journal = RoundJournal(Settings(device="cpu", data_dir=tmp_path))
    assert run(1) == [(9, 1)]
    assert journal.interrupted() == 9, "it was cancelled"
    journal.begin(4)
    assert run(3) == [(4, 0), (9, 1), (9, 2)], "that one, before files are merged; then what there is now"
    journal.end()
    assert journal.interrupted() is None
    assert run(2) == [(9, 1), (9, 2)]
