"""Hot reload: whatever is wrong with a version, the one before it serves on, and a counter and a line say so."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from model.errors import VersionRefused
from model.serving import serving
from model.serving.served_ranking import NetworkAlone, NetworkAndLog, RankedBy
from model.serving.serving import Serving
from model.serving.state_engine import StateEngine
from model.versions import manifest
from model.versions.manifest import CONFIG, MANIFEST, VOCABULARY, WEIGHTS
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import Settings
from stream_app.versions import own_registry
from stream_app.versions.promotions import Promotion, encode_promotion, promoted_after, rolled_back
from stream_app.worker.reload import Reloader, logger
from stream_app.worker.threads import WorkerThreads
from tests.unit.builders.basics import CPU, make_states
from tests.unit.builders.versions import (
    Bomb,
    change_json,
    change_weights,
    cut_off,
    flip_a_bit,
    replace_file,
    save_version,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def record_of(promotion: Promotion) -> bytes:
    """With an address of versions that nobody may read."""
    return encode_promotion(promotion, "/nowhere")


class Records:
    """A models topic that a test writes."""

    def __init__(self, *there: bytes | None) -> None:
        self._there = list(there)
        self._coming: asyncio.Queue[list[bytes | None]] = asyncio.Queue()

    def put(self, *records: bytes | None) -> None:
        self._coming.put_nowait(list(records))

    async def start(self) -> list[bytes | None]:
        return self._there

    async def follow(self) -> AsyncIterator[list[bytes | None]]:
        while True:
            yield await self._coming.get()

    async def stop(self) -> None:
        pass


class Said(logging.Handler):
    """Sets an event at each line."""

    def __init__(self, event: asyncio.Event) -> None:
        super().__init__()
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        self._event.set()


class Following:
    """A reloader at work, and what it has done."""

    folder: Path  # of the registry, set by a fixture

    def __init__(
        self,
        *there: bytes | None,
        timeout: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        canary_s: float = 300.0,
        shares: tuple[float, float] = (0.1, 0.0),
        ranked_by: RankedBy = "network-and-log",
    ) -> None:
        self.topic = Records(*there)
        self.said = asyncio.Event()
        self.engine = StateEngine(make_states(), rules_share=0.1)
        self.registry = CollectorRegistry()
        self.device_thread, self.loading_thread = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.reloader = Reloader(
            settings=Settings(
                registry=str(self.folder),
                hidden=self.engine.hidden_size,
                registry_timeout=timeout,
                canary_seconds=canary_s,
                canary_share=shares[0],
                holdback_share=shares[1],
                ranked_by=ranked_by,
            ),
            promotions=self.topic,
            engine=self.engine,
            device=CPU,
            threads=WorkerThreads(
                device=self.device_thread,
                ranking=self.device_thread,
                coding=self.device_thread,
                loading=self.loading_thread,
            ),
            metrics=WorkerMetrics(self.registry),
            sleep=sleep,
        )

    @property
    def serving(self) -> str | None:
        return self.engine.serving.name if self.engine.serving else None

    @property
    def staying(self) -> Serving | None:
        """What some users stay with."""
        return self.engine.canary.before if self.engine.canary else None

    def count(self, outcome: str) -> int:
        return int(self.registry.get_sample_value("nextact_reloads_total", {"outcome": outcome}) or 0)

    @property
    def unserved(self) -> set[str]:
        """The reasons that the metrics give for why the newest promotion does not serve."""
        families = {family.name: family for family in self.registry.collect()}
        return {each.labels["reason"] for each in families["nextact_promotion_unserved"].samples if each.value}

    def shown(self) -> list[str]:
        """The versions that the metrics say serve."""
        families = {family.name: family for family in self.registry.collect()}
        return [sample.labels["version"] for sample in families["nextact_model_info"].samples]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Looks again after each line that the reloader logs: it logs all that it does."""
        async with asyncio.timeout(10):
            while not holds():
                await self.said.wait()
                self.said.clear()


def run(following: Following, steps: Callable[[Following], Awaitable[None]]) -> None:
    """Starts, follows in the background, and goes through the steps; a failure of the following is one of the test."""

    async def go() -> None:
        await following.reloader.start()
        task = asyncio.create_task(following.reloader.follow())
        done, _ = await asyncio.wait(
            {task, asyncio.ensure_future(steps(following))}, return_when=asyncio.FIRST_COMPLETED
        )
        task.cancel()
        for ended in done:
            ended.result()
        with suppress(asyncio.CancelledError):
            await task

    said = Said(following.said)
    logger.addHandler(said)
    try:
        asyncio.run(go())
    finally:
        logger.removeHandler(said)
        following.device_thread.shutdown()
        following.loading_thread.shutdown()


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the reloader looks versions up."""
    monkeypatch.setattr(Following, "folder", tmp_path, raising=False)
    return tmp_path


@pytest.fixture
def good(tmp_path: Path) -> Promotion:
    return promoted_after(None, save_version(tmp_path / "good"), {}, NOON)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    with caplog.at_level(logging.INFO, logger.name):
        yield lambda: caplog.text


def hang(path: Path) -> None:
    """Opening a pipe that nobody writes to blocks."""
    (path / MANIFEST).unlink()
    os.mkfifo(path / MANIFEST)


def a_folder_for_a_file(path: Path) -> None:
    (path / VOCABULARY).unlink()
    (path / VOCABULARY).mkdir()


def other_sizes(path: Path) -> None:
    change_weights(path, lambda tensors: tensors.update({"items.weight": torch.zeros(5, 8)}))


def not_finite(path: Path) -> None:
    change_weights(path, lambda tensors: tensors["backbone.gru.bias_hh_l0"].fill_(float("nan")))


def another_version(path: Path) -> None:
    """A sound version that calls itself otherwise."""
    shutil.rmtree(path)
    save_version(path.parent / "other", seed=3)
    (path.parent / "other").rename(path)


HONEST: list[tuple[str, Any]] = [  # the hash announced is that of the version before the damage
    ("size", lambda path: cut_off(path / WEIGHTS)),
    ("hash", lambda path: flip_a_bit(path / WEIGHTS)),
    ("hash", lambda path: replace_file(path, WEIGHTS, b"")),
    ("missing_file", lambda path: (path / WEIGHTS).unlink()),
    ("missing_file", lambda path: (path / MANIFEST).unlink()),
    ("missing_file", shutil.rmtree),
    ("hash", another_version),
]
AWAY = (a_folder_for_a_file, hang)  # cannot be read now, and may be later
HOSTILE: list[tuple[str, Any]] = [  # the hash announced is that of what lies there
    ("format", another_version),
    ("format", lambda path: change_json(path, CONFIG, dict.clear)),
    ("format", lambda path: replace_file(path, WEIGHTS, pickle.dumps(Bomb()))),
    ("format", lambda path: replace_file(path, "../other.json", b"{}")),
    ("shape", other_sizes),
    ("not_finite", not_finite),
]


@pytest.mark.parametrize(("ranked_by", "kind"), [("network", NetworkAlone), ("network-and-log", NetworkAndLog)])
def test_items_are_ranked_by_what_the_setting_says(good: Promotion, ranked_by: RankedBy, kind: type) -> None:
    worker = Following(record_of(good), ranked_by=ranked_by)

    async def steps(worker: Following) -> None:
        await worker.until(lambda: worker.serving == "good")

    run(worker, steps)
    assert worker.engine.serving is not None
    assert type(worker.engine.serving.ranking) is kind


def assert_refused(worker: Following, log: str, version: str, reason: str, serving_on: str | None) -> None:
    assert worker.count("refused") == 1
    (line,) = (line for line in log.splitlines() if "refused version" in line)
    assert f"refused version {version}: {reason}: " in line
    assert line.endswith(f"still serving: {serving_on or 'the rules'}")


@pytest.mark.parametrize(
    ("reason", "damage", "hostile"), [(*fault, False) for fault in HONEST] + [(*fault, True) for fault in HOSTILE]
)
def test_a_bad_version_is_refused_and_the_one_before_serves_on(
    good: Promotion,
    tmp_path: Path,
    log: Callable[[], str],
    reason: str,
    damage: Callable[[Path], object],
    hostile: bool,
) -> None:
    version_ref = save_version(tmp_path / "bad", seed=1)
    damage(tmp_path / "bad")
    if hostile:
        digest = sha256((tmp_path / "bad" / MANIFEST).read_bytes()).hexdigest()
        version_ref = msgspec.structs.replace(version_ref, manifest_sha256=digest)
    # By a clock that is ahead: it must not matter later.
    bad = promoted_after(good, version_ref, {}, NOON + timedelta(days=365))
    better = promoted_after(good, save_version(tmp_path / "better", seed=2), {}, NOON + timedelta(minutes=2))
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        before = worker.engine.serving
        worker.topic.put(record_of(bad))
        await worker.until(lambda: worker.count("refused") == 1)
        assert worker.engine.serving is before
        assert worker.shown() == ["good"]
        assert_refused(worker, log(), "bad", reason, "good")
        assert worker.unserved == {reason}
        worker.topic.put(record_of(better))
        await worker.until(lambda: worker.count("loaded") == 2)
        assert worker.serving == "better"
        assert worker.shown() == ["better"]
        assert worker.unserved == set()

    run(worker, steps)


def test_at_the_start_the_rules_answer_where_the_champion_is_refused(
    good: Promotion, tmp_path: Path, log: Callable[[], str]
) -> None:
    cut_off((tmp_path / good.version) / WEIGHTS)
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        assert worker.serving is None
        assert_refused(worker, log(), "good", "size", None)
        worker.topic.put(record_of(promoted_after(good, save_version(tmp_path / "better"), {}, NOON)))
        await worker.until(lambda: worker.serving == "better")

    run(worker, steps)


@pytest.mark.parametrize("record", [b"no json", None, b'{"format": 2}'])
def test_a_record_that_cannot_be_read_is_refused(good: Promotion, log: Callable[[], str], record: bytes | None) -> None:
    worker = Following(record_of(good), record)

    async def steps(worker: Following) -> None:
        assert worker.serving == "good"
        worker.topic.put(record)
        await worker.until(lambda: worker.count("refused") == 2)
        assert worker.serving == "good"
        assert "refused version ?: promotion: " in log()
        assert worker.unserved == {"promotion"}

    run(worker, steps)


def test_a_good_promotion_counts_that_comes_together_with_a_bad_record(good: Promotion) -> None:
    worker = Following()

    async def steps(worker: Following) -> None:
        assert worker.serving is None
        worker.topic.put(record_of(good), b"no json")
        await worker.until(lambda: worker.serving == "good")
        assert worker.count("refused") == 1

    run(worker, steps)


def test_a_late_promotion_is_refused_but_a_rollback_to_the_same_version_is_not(
    good: Promotion, tmp_path: Path, log: Callable[[], str]
) -> None:
    newer = promoted_after(good, save_version(tmp_path / "newer", seed=1), {}, NOON + timedelta(minutes=1))
    worker = Following(record_of(good), record_of(newer))

    async def steps(worker: Following) -> None:
        assert worker.serving == "newer"
        worker.topic.put(record_of(good))
        await worker.until(lambda: worker.count("refused") == 1)
        assert_refused(worker, log(), "good", "older", "newer")
        worker.topic.put(record_of(rolled_back(newer, {}, NOON + timedelta(minutes=2))))
        await worker.until(lambda: worker.serving == "good")

    run(worker, steps)


def test_the_version_before_serves_again_without_being_read_again(good: Promotion, tmp_path: Path) -> None:
    newer = promoted_after(good, save_version(tmp_path / "newer", seed=1), {}, NOON + timedelta(minutes=1))
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        before = worker.engine.serving
        worker.topic.put(record_of(newer))
        await worker.until(lambda: worker.serving == "newer")
        shutil.rmtree(tmp_path / good.version)
        worker.topic.put(record_of(rolled_back(newer, {}, NOON + timedelta(minutes=2))))
        await worker.until(lambda: worker.count("loaded") == 3)
        assert worker.engine.serving is before
        assert worker.shown() == ["good"]

    run(worker, steps)


def test_what_serves_is_not_loaded_again_when_it_is_promoted_again(good: Promotion) -> None:
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        before = worker.engine.serving
        worker.topic.put(record_of(promoted_after(good, good.version_ref, {}, NOON)), b"no json")
        await worker.until(lambda: worker.count("refused") == 1)
        assert worker.engine.serving is before
        assert worker.count("loaded") == 1

    run(worker, steps)


def test_a_version_that_does_not_answer_on_the_device_is_refused(
    good: Promotion, tmp_path: Path, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    large = promoted_after(good, save_version(tmp_path / "large", seed=1), {}, NOON)
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        before = worker.engine.serving
        monkeypatch.setattr(serving, "_warm_up", out_of_memory)
        worker.topic.put(record_of(large))
        await worker.until(lambda: worker.count("refused") == 1)
        assert worker.engine.serving is before
        assert_refused(worker, log(), "large", "warm_up", "good")
        assert "20 GiB" in log()

    run(worker, steps)


def test_states_of_another_size_are_refused(good: Promotion, log: Callable[[], str]) -> None:
    worker = Following(record_of(good))
    worker.engine.states.hidden = worker.engine.states.hidden[:, :-1]

    async def steps(worker: Following) -> None:
        assert worker.serving is None
        assert_refused(worker, log(), "good", "shape", None)

    run(worker, steps)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("away_s", "served_s"), [(60.0, 91.0), (600.0, 631.0)])
def test_a_registry_that_was_away_is_read_when_it_is_back(
    good: Promotion,
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    away_s: float,
    served_s: float,
) -> None:
    time, read_files = FakeTime(), manifest.read_files

    def away(path: str, manifest_sha256: str | None) -> manifest.VersionFiles:
        if time.now < away_s:
            raise VersionRefused("unreadable", f"{path} is away")
        return read_files(path, manifest_sha256)

    monkeypatch.setattr(own_registry, "read_files", away)
    worker = Following(record_of(good), sleep=time.sleep)

    async def steps(worker: Following) -> None:
        assert worker.serving is None
        assert worker.unserved == {"unreadable"}
        await worker.until(lambda: worker.serving == "good")
        assert time.now == served_s
        assert time.pauses[:4] == [1.0, 5.0, 25.0, 60.0]
        assert set(time.pauses[4:]) <= {60.0}
        assert worker.count("refused") == 0
        assert worker.count("unreadable") == len(time.pauses) + 1, "each try, and the one at the start"
        assert worker.unserved == set()
        assert "version good is tried again: unreadable: " in log()
        assert "still serving: the rules" in log()

    run(worker, steps)


def test_a_registry_that_is_mounted_late_is_read_then(good: Promotion, tmp_path: Path, log: Callable[[], str]) -> None:
    (tmp_path / "good").rename(tmp_path.parent / f"{tmp_path.name}-good")
    time = FakeTime()

    async def sleep(seconds: float) -> None:
        await time.sleep(seconds)
        if len(time.pauses) == 2:
            (tmp_path.parent / f"{tmp_path.name}-good").rename(tmp_path / "good")

    worker = Following(record_of(good), sleep=sleep)

    async def steps(worker: Following) -> None:
        assert worker.unserved == {"unreadable"}
        await worker.until(lambda: worker.serving == "good")
        assert time.pauses == [1.0, 5.0]
        assert "has no version at all: is it mounted?" in log()
        assert worker.count("refused") == 0

    run(worker, steps)


@pytest.mark.parametrize("damage", AWAY)
def test_a_newer_promotion_ends_the_tries_of_a_version_that_cannot_be_read(
    good: Promotion, tmp_path: Path, log: Callable[[], str], damage: Callable[[Path], object]
) -> None:
    bad = promoted_after(good, save_version(tmp_path / "bad", seed=1), {}, NOON + timedelta(minutes=1))
    damage(tmp_path / "bad")
    better = promoted_after(good, save_version(tmp_path / "better", seed=2), {}, NOON + timedelta(minutes=2))
    tried = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await (asyncio.sleep(1000) if seconds > 60 else tried.wait())  # a canary's time is not over

    worker = Following(record_of(good), timeout=0.3, sleep=sleep)

    async def steps(worker: Following) -> None:
        worker.topic.put(record_of(bad))
        await worker.until(lambda: worker.count("unreadable") == 1)
        assert (worker.serving, worker.unserved) == ("good", {"unreadable"})
        worker.topic.put(record_of(better))
        await worker.until(lambda: worker.serving == "better")
        tried.set()
        await worker.until(lambda: "version bad was superseded before it served" in log())
        assert (worker.count("unreadable"), worker.count("refused"), worker.unserved) == (1, 0, set())

    run(worker, steps)


def test_a_later_promotion_does_not_wait_for_a_slow_folder_whose_version_is_dropped(
    good: Promotion, tmp_path: Path, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = promoted_after(good, save_version(tmp_path / "slow", seed=1), {}, NOON + timedelta(minutes=1))
    better = promoted_after(good, save_version(tmp_path / "better", seed=2), {}, NOON + timedelta(minutes=2))
    worker = Following(record_of(good))
    begun, release = threading.Event(), threading.Event()

    def read_slowly(path: str, manifest_sha256: str | None) -> manifest.VersionFiles:
        if path == str(tmp_path / "slow"):
            begun.set()
            release.wait(10)
        return manifest.read_files(path, manifest_sha256)

    async def steps(worker: Following) -> None:
        monkeypatch.setattr(own_registry, "read_files", read_slowly)
        worker.topic.put(record_of(slow))
        assert await asyncio.to_thread(begun.wait, 10)
        worker.topic.put(record_of(better))
        await worker.until(lambda: worker.serving == "better")
        release.set()
        await worker.until(lambda: "version slow was superseded" in log())
        assert worker.serving == "better"
        assert worker.count("loaded") == 2

    run(worker, steps)


def test_an_error_of_our_own_ends_the_following(good: Promotion, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Following()

    def broken(*_: object) -> None:
        raise AssertionError("a bug")

    async def steps(worker: Following) -> None:
        monkeypatch.setattr(worker.reloader, "_report", broken)
        worker.topic.put(record_of(good))
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        run(worker, steps)


def test_a_new_version_runs_as_a_canary_beside_the_one_before_it_for_a_while(good: Promotion, tmp_path: Path) -> None:
    newer = promoted_after(good, save_version(tmp_path / "newer", seed=1), {}, NOON + timedelta(minutes=1))
    worker = Following(record_of(good), canary_s=0.05)

    async def steps(worker: Following) -> None:
        before = worker.engine.serving
        assert (worker.staying, worker.reloader.canary_names) == (None, None)
        worker.topic.put(record_of(newer))
        await worker.until(lambda: worker.staying is not None)
        assert worker.staying is before
        assert worker.reloader.canary_names == ("newer", "good")
        await worker.until(lambda: worker.reloader.canary_names is None)
        await worker.until(lambda: worker.staying is None)
        assert worker.serving == "newer"

    run(worker, steps)


def test_after_its_canary_a_version_holds_other_users_back_until_the_next_one(good: Promotion, tmp_path: Path) -> None:
    versions = [good]
    for number in (1, 2):
        made = save_version(tmp_path / f"newer{number}", seed=number)
        versions.append(promoted_after(versions[-1], made, {}, NOON + timedelta(minutes=number)))
    worker = Following(record_of(good), canary_s=0.05, shares=(0.3, 0.2))
    users = [f"user {n}" for n in range(1000)]

    async def steps(worker: Following) -> None:
        stayed = list[frozenset[int]]()
        for promotion in versions[1:]:
            worker.topic.put(record_of(promotion))
            for share in (0.3, 0.2):
                await worker.until(lambda: worker.engine.canary is not None and worker.engine.canary.share == share)  # noqa: B023
                assert worker.reloader.phase == ("canary" if share == 0.3 else "holdback")
                assert worker.engine.canary is not None
                stayed.append(frozenset(np.flatnonzero(worker.engine.canary.stays(users)).tolist()))
            assert worker.reloader.canary_names == (promotion.version, promotion.predecessors[0].version)
        assert len({*stayed}) == 4, "drawn anew for each version, and for each phase"
        assert all(200 < len(each) < 400 for each in stayed[::2])
        assert len(stayed[0] & stayed[1]) < 0.4 * len(stayed[1])

    run(worker, steps)


def test_without_a_canary_users_are_held_back_at_once(good: Promotion, tmp_path: Path) -> None:
    newer = promoted_after(good, save_version(tmp_path / "newer", seed=1), {}, NOON + timedelta(minutes=1))
    worker = Following(record_of(good), shares=(0.0, 0.2))

    async def steps(worker: Following) -> None:
        worker.topic.put(record_of(newer))
        await worker.until(lambda: worker.staying is not None)
        assert (worker.reloader.phase, worker.reloader.canary_names) == ("holdback", ("newer", "good"))

    run(worker, steps)


def test_a_rollback_has_no_canary(good: Promotion, tmp_path: Path) -> None:
    newer = promoted_after(good, save_version(tmp_path / "newer", seed=1), {}, NOON + timedelta(minutes=1))
    worker = Following(record_of(good))

    async def steps(worker: Following) -> None:
        worker.topic.put(record_of(newer))
        await worker.until(lambda: worker.staying is not None)
        worker.topic.put(record_of(rolled_back(newer, {}, NOON + timedelta(minutes=2))))
        await worker.until(lambda: worker.serving == "good")
        assert (worker.staying, worker.reloader.canary_names) == (None, None)

    run(worker, steps)
