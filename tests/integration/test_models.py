"""Versions under faults and by hand: a real worker, a trainer killed while it publishes, `nextact models`."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from model.versions.manifest import FUSION, MANIFEST, WEIGHTS
from stream_app.errors import VersionUnusable
from stream_app.kafka.clients import new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.admin import list_models, promote, roll_back
from stream_app.versions.promotions import (
    CHAMPION,
    Promotion,
    VersionRef,
    current_champion,
    encode_promotion,
    promoted_after,
    publish_promotion,
)
from tests.integration.running import Running, nextact
from tests.integration.test_command_line import assert_mistake
from tests.integration.test_end_to_end import shop_events, wait_answered
from tests.integration.topics import send_all
from tests.unit.builders.basics import HIDDEN
from tests.unit.builders.versions import Bomb, change_weights, cut_off, flip_a_bit, replace_file, save_version

pytestmark = pytest.mark.broker

Start = Callable[..., Running]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """For small versions that need no training, and an impatient worker."""
    return settings.model_copy(update={"hidden": HIDDEN, "registry_timeout": 5.0})


def now() -> datetime:
    return datetime.now(UTC)


def put_record(settings: Settings, value: bytes | None) -> None:
    async def put() -> None:
        async with new_producer(settings, "operator") as producer:
            await producer.send_and_wait(settings.models_topic, value, CHAMPION, partition=0)

    asyncio.run(put())


def hang(path: Path) -> None:
    """Opening a pipe that nobody writes to blocks."""
    (path / MANIFEST).unlink()
    os.mkfifo(path / MANIFEST)


def states(settings: Settings) -> dict[str, str]:
    return {line.version: line.state for line in asyncio.run(list_models(settings))}


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "truncated": ("size", lambda path: cut_off(path / WEIGHTS)),
    "incomplete": ("missing_file", lambda path: (path / MANIFEST).unlink()),
    "gone": ("missing_file", shutil.rmtree),
    "pickled": ("hash", lambda path: replace_file(path, WEIGHTS, pickle.dumps(Bomb()))),
    "misshapen": ("shape", lambda path: change_weights(path, lambda t: t.update({"purchase.bias": torch.zeros(9)}))),
    "not-finite": ("not_finite", lambda path: change_weights(path, lambda t: t["purchase.bias"].fill_(torch.nan))),
}


def test_a_worker_goes_through_bad_promotions_and_takes_the_good_one(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    asyncio.run(ensure_topics(settings))
    registry = Path(settings.registry)
    first = promoted_after(None, save_version(registry / "first"), {}, now())
    asyncio.run(publish_promotion(first, settings))
    events = shop_events(600)
    worker = start("worker")
    worker.wait_ready()
    assert worker.metric("nextact_model_info", "first") == 1

    refused = 0

    def assert_refused(version: str, reason: str) -> None:
        nonlocal refused
        refused += 1
        worker.wait_until(lambda: worker.metric("nextact_reloads_total", "refused") == refused)
        lines = [line for line in worker.tail().splitlines() if f"refused version {version}: {reason}: " in line]
        assert lines, worker.tail()
        assert lines[-1].endswith("still serving: first")

    for name, (reason, damage) in BAD.items():
        version_ref = save_version(registry / name, seed=1)
        damage(registry / name)
        bad = promoted_after(first, announced(registry, version_ref, reason), {}, now())
        asyncio.run(publish_promotion(bad, settings))
        assert_refused(name, reason)
    for value in (b"no json", None, b'{"format": 2}'):
        put_record(settings, value)
        assert_refused("?", "promotion")
    late = save_version(registry / "late")
    asyncio.run(publish_promotion(promoted_after(None, late, {}, first.promoted_at - timedelta(seconds=1)), settings))
    assert_refused("late", "older")
    send_all(settings, events[:300])
    seen = wait_answered(worker, settings)
    assert {prediction.model_version for _, prediction in seen.predictions} == {"first"}

    stuck = save_version(registry / "stuck")
    hang(registry / "stuck")
    asyncio.run(publish_promotion(promoted_after(first, stuck, {}, now()), settings))
    worker.wait_until(lambda: "version stuck is tried again: unreadable" in worker.tail())
    good = save_version(registry / "good", seed=2)
    asyncio.run(publish_promotion(promoted_after(first, good, {}, now()), settings))
    worker.wait_until(lambda: worker.metric("nextact_model_info", "good") == 1)
    send_all(settings, events[300:])
    seen = wait_answered(worker, settings)
    assert {prediction.model_version for _, prediction in seen.predictions} == {"first", "good"}
    assert worker.metric("nextact_reloads_total", "refused") == refused
    assert worker.metric("nextact_reloads_total", "loaded") == 2
    assert worker.terminate() == 0


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves a folder over HTTP; yields its address and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_promotion_is_looked_up_in_the_own_registry_and_each_bad_one_is_refused_with_a_line(
    settings: Settings, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What anybody could do who may write the models topic: name other addresses, folders, bytes."""
    asyncio.run(ensure_topics(settings))
    registry, elsewhere = Path(settings.registry), tmp_path / "elsewhere"
    worker = start("worker")
    worker.wait_ready()

    def put(version_ref: VersionRef, **changes: Any) -> None:
        promotion = promoted_after(None, version_ref, {}, now(), "somebody")
        put_record(settings, json.dumps(json.loads(encode_promotion(promotion, "")) | changes).encode())

    def line_of(outcome: str, count: int, beginning: str) -> str:
        worker.wait_until(lambda: worker.metric("nextact_reloads_total", outcome) == count)
        return next(line for line in reversed(worker.tail().splitlines()) if beginning in line).strip()

    with web_server(elsewhere) as (address, asked):
        theirs = save_version(elsewhere / "v1", seed=7)
        (elsewhere / "refs.json").write_text('{"version": 1, "refs": {"v1/manifest.json": "{}"}}')
        ours = save_version(registry / "v1")
        lines = []
        for number, path in enumerate((f"{address}/v1", f"reference::{address}/refs.json", "/etc", "../elsewhere/v1")):
            put(theirs, path=path)
            lines.append(line_of("refused", number + 1, "refused version v1: hash: "))
            assert f"{registry}/v1/manifest.json has SHA-256 " in lines[-1], "it looked in its own registry"
        put(ours, path=f"{address}/v1")
        lines.append(line_of("loaded", 1, "serving version v1, "))
        assert lines[-1].endswith("by somebody")
        assert asked == []
    refused = 4
    for name, damage, reason in (
        ("cut", lambda path: cut_off(path / WEIGHTS), "size: "),
        ("large", lambda path: (path / FUSION).write_bytes((path / FUSION).read_bytes() + b"!"), "size: "),
        ("endless", lambda path: put_endless(path / MANIFEST), "size: "),
        ("changed", lambda path: flip_a_bit(path / WEIGHTS), "hash: "),
    ):
        bad = save_version(registry / name, seed=2)
        damage(registry / name)
        put(bad)
        refused += 1
        lines.append(line_of("refused", refused, f"refused version {name}: {reason}"))
    for text in ("../elsewhere/v1", "..", ".v1", "-v1", "", "v1\nserving version v2", "x" * 10_000):
        put(ours, version=text)
        refused += 1
        lines.append(line_of("refused", refused, "refused version ?: promotion: "))
        assert len(lines[-1]) < 400
    assert worker.metric("nextact_promotion_unserved", "promotion") == 1
    assert all(line.endswith("; still serving: v1") for line in lines[5:])
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert worker.terminate() == 0


def put_endless(path: Path) -> None:
    """A file without an end."""
    path.unlink()
    path.symlink_to("/dev/zero")


def announced(registry: Path, version_ref: VersionRef, reason: str) -> VersionRef:
    """With the hash that the manifest has after the damage, where the damage is to be found by a later check."""
    if reason in ("size", "hash", "missing_file"):
        return version_ref
    return msgspec.structs.replace(
        version_ref, manifest_sha256=sha256((registry / version_ref.version / MANIFEST).read_bytes()).hexdigest()
    )


def test_versions_are_listed_promoted_and_rolled_back_by_hand(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    registry = Path(settings.registry)
    assert asyncio.run(list_models(settings)) == []
    metrics = {"recall@20": 0.25, "champion_recall@20": 0.24, "rules_recall@20": 0.125}
    for number in (1, 2, 3):
        save_version(registry / f"v{number}", seed=number, metrics=metrics, facts={"events": 1234})
    save_version(registry / "v4")
    (registry / "v4" / MANIFEST).unlink()
    save_version(registry / "v5")
    change_weights(registry / "v5", lambda tensors: tensors["purchase.bias"].fill_(torch.nan))

    assert_mistake(nextact("models", "promote", "v4", settings=settings), "v4", "missing_file")
    for name, why in (("v5", "not_finite"), ("../v1", "nextact models list"), ("v9", "nextact models list")):
        with pytest.raises(VersionUnusable, match=why):
            asyncio.run(promote(settings, name, now()))
    with pytest.raises(VersionUnusable, match="no version was promoted yet"):
        asyncio.run(roll_back(settings, now()))
    assert asyncio.run(current_champion(settings)) is None
    for name in ("v1", "v2"):
        asyncio.run(promote(settings, name, now()))
    worker = start("worker")
    worker.wait_ready()
    done = nextact("models", "promote", "v3", settings=settings)
    assert (done.returncode, done.stdout) == (0, "promoted v3, after v2\n"), done.stderr
    worker.wait_until(lambda: worker.metric("nextact_model_info", "v3") == 1)
    done = nextact("models", "rollback", settings=settings)
    assert (done.returncode, done.stdout) == (0, "went back from v3 to v2\n"), done.stderr
    worker.wait_until(lambda: worker.metric("nextact_model_info", "v2") == 1)

    lines = [json.loads(line) for line in nextact("models", "list", "--json", settings=settings).stdout.splitlines()]
    assert {line["version"]: line["state"] for line in lines} == {
        "v1": "promoted before",
        "v2": "serving",
        "v3": "promoted before",
        "v4": "damaged",
        "v5": "never promoted",
    }
    assert lines[1]["created"] == "2026-01-02T03:04:05Z"
    assert lines[1]["events"] == 1234
    assert lines[1]["recall_at_20"] == 0.25
    assert lines[3]["damage"].startswith("missing_file: ")
    shown = nextact("models", "list", settings=settings).stdout.splitlines()
    assert shown[2].split()[:7] == ["v2", "2026-01-02", "03:04:05", "1,234", "0.2500", "0.2400", "0.1250"]

    assert asyncio.run(roll_back(settings, now())) == "went back from v2 to v1"
    worker.wait_until(lambda: worker.metric("nextact_model_info", "v1") == 1)
    with pytest.raises(VersionUnusable, match=r"before v1.*nextact models promote"):
        asyncio.run(roll_back(settings, now()))


def test_a_registry_that_cannot_be_read_is_a_mistake(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    nowhere = settings.model_copy(update={"registry": "nowhere-at-all://models"})
    assert_mistake(nextact("models", "list", settings=nowhere), "the registry nowhere-at-all://models")


def test_a_trainer_killed_while_it_publishes_leaves_the_next_one_free_and_training_follows_a_rollback(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(2500))
    for defect in ("die-manifest", "die-promotion"):
        monkeypatch.setenv("NEXTACT_TEST_DEFECT", defect)
        dying = start("trainer", "--once", module="tests.integration.broken")
        assert dying.wait(120) == -signal.SIGKILL, dying.tail()
        assert asyncio.run(current_champion(settings)) is None
    assert sorted(states(settings).values()) == ["damaged", "never promoted"]
    half, whole = sorted(states(settings))
    assert states(settings)[whole] == "never promoted"

    worker = start("worker")
    worker.wait_ready()
    assert worker.metric("nextact_reloads_total", "refused") == 0
    trained = train(start)
    assert "round begins from nothing" in trained
    first = asyncio.run(current_champion(settings))
    assert first is not None, trained
    worker.wait_until(lambda: worker.metric("nextact_model_info", first.version) == 1)
    assert states(settings) == {half: "damaged", whole: "never promoted", first.version: "serving"}

    asyncio.run(promote(settings, whole, now()))
    worker.wait_until(lambda: worker.metric("nextact_model_info", whole) == 1)
    asyncio.run(roll_back(settings, now()))
    worker.wait_until(lambda: worker.metric("nextact_model_info", first.version) == 1)
    assert f"round begins from version {first.version}" in train(start)


def test_a_trainer_killed_in_a_round_goes_on_and_publishes_what_an_undisturbed_one_does(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(2500))
    killed = start("trainer", train_every=1000.0)
    killed.wait_until(lambda: any(settings.data_dir.rglob("fit-1.safetensors")))
    killed.kill()
    assert not any(Path(settings.registry).glob("*"))
    other: dict[str, Any] = {
        "history": str(tmp_path / "copy"),
        "registry": str(tmp_path / "others"),
        "data_dir": tmp_path / "elsewhere",
        "models_topic": f"{settings.models_topic}.others",
    }
    asyncio.run(ensure_topics(settings.model_copy(update=other)))
    shutil.copytree(settings.history, other["history"])
    undisturbed = start("trainer", "--once", **other)
    again = start("trainer", train_every=1000.0)
    again.wait_until(lambda: again.metric("nextact_trainer_rounds_total", "promoted") == 1)
    assert "the interrupted round goes on" in again.tail()
    assert undisturbed.wait(120) == 0, undisturbed.tail()
    for name in (WEIGHTS, FUSION):
        (found,), (wanted,) = (Path(place).glob(f"*/{name}") for place in (settings.registry, other["registry"]))
        assert found.read_bytes() == wanted.read_bytes()
    assert not any((settings.data_dir / "trainer").iterdir())


def train(start: Start) -> str:
    trainer = start("trainer", "--once")
    assert trainer.wait(120) == 0, trainer.tail()
    return trainer.tail()


def test_a_round_fails_while_the_champion_cannot_be_read_and_begins_anew_when_it_is_damaged(
    settings: Settings, start: Start
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(2500))
    version_ref = save_version(Path(settings.registry) / "first")
    asyncio.run(publish_promotion(promoted_after(None, version_ref, {}, now()), settings))
    trainer = start("trainer", "--once", registry="nowhere-at-all://models")
    assert trainer.wait(120) == 1, trainer.tail()
    assert "round failed (registry), the champion stays: nowhere-at-all://models/first/manifest.json" in trainer.tail()
    assert champion_name(settings) == "first"

    cut_off(Path(settings.registry) / "first" / WEIGHTS)
    said = train(start)
    assert "the champion first cannot be used, training starts from scratch" in said
    assert "round begins from nothing" in said
    assert champion_name(settings) != "first"


def champion_name(settings: Settings) -> str:
    found: Promotion | None = asyncio.run(current_champion(settings))
    assert found is not None
    return found.version
