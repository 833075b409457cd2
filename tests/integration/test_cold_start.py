"""A worker's start in the image's conditions: a root that cannot be written, an empty home, code compiled ahead."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from stream_app.settings import Settings
from stream_app.versions.promotions import publish_promotion
from tests.bench.made_up import records, version_of_a_log
from tests.integration.image import can_be_read_only, compile_ahead, compiling, give_to_all, read_only
from tests.integration.running import Running, nextact
from tests.skips import not_installed

MOST_S = 4.0  # of a processor, from the start to ready; no machine is so busy that it takes more
EVENTS, ITEMS = 3_000, 5_000


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest) -> Path:
    """What `nextact compile` makes, also for the tests that come later; kept for the next run, which compiles anew only
    when a source has changed."""
    folder: Path = request.config.cache.mkdir("compiled")
    with compiling():
        assert re.search(r"^[1-9]\d* compiled loops", compile_ahead(folder), re.M)
        give_to_all(folder)
    return folder


@pytest.mark.broker
@pytest.mark.parametrize("version", [False, True], ids=["rules", "a version"])
def test_starts_with_an_empty_home_and_a_read_only_root(
    version: bool, compiled: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_be_read_only():
        pytest.skip(not_installed("unshare, with the right to mounts of one's own,"))
    settings = settings.model_copy(update={"cache_dir": str(compiled)})
    assert nextact("topics", settings=settings).returncode == 0
    if version:
        log = records(20_000, 2_000, ITEMS)
        asyncio.run(publish_promotion(version_of_a_log(tmp_path / "models" / "v1", log, ITEMS), settings))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    worker = Running(("worker",), settings, tmp_path / "worker.log", within=read_only(settings.data_dir))
    try:
        worker.wait_ready()
        assert worker.processor_seconds < MOST_S
        simulate(settings)
        done = ("nextact_predictions_total", "model" if version else "rules")
        worker.wait_until(lambda: worker.metric(*done) >= 0.9 * EVENTS)
        worker.terminate()
    finally:
        worker.kill()
    said = worker.log.read_text()
    assert ("serving version v1" in said) is version
    assert "had to be compiled" not in said, "at the start"
    assert "is not kept for the next start" not in said, "nor by what came then"
    assert list((tmp_path / "home").iterdir()) == []


def simulate(settings: Settings) -> None:
    options = ("--events", str(EVENTS), "--rate", "0", "--poison", "0.02", "--duplicates", "0.05")
    assert nextact("simulate", *options, settings=settings).returncode == 0
