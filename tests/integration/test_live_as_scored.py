"""What `nextact evaluate --live` says of a log is what a worker reaches that gets it at the log's own pace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from model.evaluation.ranking import MISSED
from model.versions.version import load
from stream_app.cli.log_options import NAMES
from stream_app.offline.evaluation_data import DataSource, read_data
from stream_app.offline.live_run import LiveRun, live_model, run_live
from stream_app.offline.progress import ProgressLine
from stream_app.sandbox.simulate import Shop
from stream_app.settings import Settings
from stream_app.versions.promotions import current_champion
from tests.integration.running import Running
from tests.integration.test_end_to_end import wait_answered
from tests.integration.test_real_log import figures

pytestmark = pytest.mark.broker

RATE = 20.0  # events/s
BEFORE, LIVE = 4_000, 500  # events
READING: dict[str, Any] = dict.fromkeys(NAMES) | {
    "columns": (), "types": (), "timezone": "UTC", "time_unit": "auto", "file_format": "auto", "baskets": False
}  # fmt: skip


def write_shop(folder: Path) -> tuple[str, str]:
    """A shop's log in two files; of the second, every eighth item is a new one."""
    events = list(Shop(11, start=time.time() - BEFORE / RATE, rate=RATE, items=200, users=200).events(BEFORE + LIVE))
    for event in events[BEFORE:]:
        if event.get("item_id", "item-1").endswith(("3", "7")):
            event["item_id"] += "-new"
    paths = str(folder / "before.jsonl"), str(folder / "live.jsonl")
    for path, part in zip(paths, (events[:BEFORE], events[BEFORE:]), strict=True):
        Path(path).write_text("".join(json.dumps(event) + "\n" for event in part))
    return paths


def test_a_worker_reaches_what_a_live_run_says(
    settings: Settings, start: Callable[..., Running], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, live = write_shop(tmp_path)
    worker, counting = start("worker"), start("statistics")
    for process in (worker, counting):
        process.wait_ready(120)
    assert start("send", before).wait(60) == 0
    wait_answered(worker, settings)
    trainer = start("trainer", "--once")
    assert trainer.wait(240) == 0, trainer.tail()
    assert "promoted" in trainer.tail(), trainer.tail()
    worker.wait_until(lambda: worker.metric("nextact_reloads_total", "loaded") == 1)
    known = {ranker: figures(worker, ranker) for ranker in ("model", "rules")}
    worker.wait_until(lambda: worker.metric("nextact_statistics_age_seconds") < 10, needs=[worker, counting])
    sending, delays = start("send", live, "--speed", "1"), list[float]()
    while not sending.ends_within(0.5):
        delays.append(worker.metric("nextact_statistics_age_seconds"))
    assert sending.wait(1) == 0
    wait_answered(worker, settings)

    scored = as_scored(settings, before, live, lag=mean(delays))
    for ranker, old in known.items():
        count, hits, reciprocals = (new - past for new, past in zip(figures(worker, ranker), old, strict=True))
        recall, mrr = hits / count, reciprocals / count
        with capsys.disabled():
            said = f"live {recall:.4f} / {mrr:.4f} on {count:.0f} events, scored {scored[ranker]}"
            print(f"\nstatistics {mean(delays):.2f} s late; {ranker}: {said}", end="")
        if ranker == "model":
            assert count == scored["targets"]
            assert (recall, mrr) == pytest.approx(scored[ranker], abs=0.025)  # a hit of 227 is 0.0044
            assert recall > 0.2


def as_scored(settings: Settings, before: str, live: str, lag: float) -> dict[str, Any]:
    """Recall@20 and MRR@20 of the champion and the rules by a live run of the same log."""
    promotion = asyncio.run(current_champion(settings))
    assert promotion is not None
    version = load(f"{settings.registry_address}/{promotion.version}", promotion.manifest_sha256)
    source = DataSource((before,), (live,), READING, live_lag=lag)
    data = read_data(source, settings, ProgressLine(terminal=False))
    assert data.live is not None
    scores = run_live(LiveRun(live_model(version, data.split), data.live, lag=lag), settings, torch.device("cpu"))
    both = zip(("model", "rules"), scores.means(), strict=True)
    assert (scores.model_ranks == MISSED).any()
    return {name: (means.recall[20], means.mrr[20]) for name, means in both} | {"targets": len(scores)}
