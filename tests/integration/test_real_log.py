"""JD.com's behaviour log through the whole program, where the folder with it is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.data.events import concatenate
from model.data.sequences import sequences_of
from model.evaluation.evaluate import TimeSlice, evaluate
from model.evaluation.ranking import ranking
from model.versions.version import load
from stream_app.offline.event_files import event_file
from stream_app.offline.log_reader import LogReader
from stream_app.settings import Settings
from stream_app.versions.promotions import current_champion
from tests.integration.running import Running
from tests.integration.test_end_to_end import wait_answered
from tests.paths import SHARED_DATA
from tests.skips import NO_SHARED_DATA

pytestmark = pytest.mark.broker

JDATA = SHARED_DATA / "jdata"
FILES = ("train.csv.gz", "test.csv.gz")
MAPPING = ("--type-map", "follow=favorite", "--type-map", "comment=", "--timezone", "Asia/Shanghai")


@pytest.mark.skipif(not JDATA.exists(), reason=NO_SHARED_DATA)
def test_a_real_log_is_answered_learned_and_foreseen(
    settings: Settings, start: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = start("worker")
    worker.wait_ready()
    assert start("send", str(JDATA / FILES[0]), *MAPPING).wait(60) == 0
    wait_answered(worker, settings, timeout=120)
    trainer = start("trainer", "--once")
    assert trainer.wait(240) == 0, trainer.tail()
    assert "promoted" in trainer.tail(), trainer.tail()
    worker.wait_until(lambda: worker.metric("nextact_reloads_total", "loaded") == 1)
    before = {ranker: figures(worker, ranker) for ranker in ("model", "rules")}
    assert start("send", str(JDATA / FILES[1]), *MAPPING).wait(60) == 0
    seen = wait_answered(worker, settings, timeout=120)

    assert set(seen.answered().values()) == {1}
    assert len(seen.answered()) == len(seen.events)
    assert not seen.dead_letters
    live, offline = {}, as_evaluated(settings)
    for ranker, old in before.items():
        scored, hits, reciprocal = (new - past for new, past in zip(figures(worker, ranker), old, strict=True))
        live[ranker] = (hits / scored, reciprocal / scored, scored)
    with capsys.disabled():
        for ranker, (hit, mrr, scored) in live.items():
            print(f"\nJData test, live, {ranker}: hit@20 {hit:.4f}, MRR@20 {mrr:.4f} on {scored:.0f} events", end="")
        hit, mrr, scored = offline
        print(f"\nJData test, evaluated, model: hit@20 {hit:.4f}, MRR@20 {mrr:.4f} on {scored} events")
    assert live["model"][2] == offline[2]
    assert live["model"][:2] == pytest.approx(offline[:2], abs=0.001)
    assert live["model"][0] > 0.2  # popularity reaches 0.04
    assert live["model"][1] > 0.08


def as_evaluated(settings: Settings) -> tuple[float, float, int]:
    """hit@20 and MRR@20 of the champion as `evaluate` finds them, on the targets that it answered live: those whose
    user did something in the test before, as the answer to what came before it was the rules'. Statistics stand still,
    as nobody counts beside this worker."""
    promotion = asyncio.run(current_champion(settings))
    assert promotion is not None
    version = load(f"{settings.registry_address}/{promotion.version}", promotion.manifest_sha256)
    version = replace(version, fusion=replace(version.fusion, live=False))
    reading: dict[str, Any] = {"columns": (), "types": MAPPING[1:4:2], "timezone": MAPPING[-1], "constant_type": None}
    reading |= {"time_unit": "auto", "file_format": "auto", "baskets": False}
    known, test = (LogReader().read([event_file(str(JDATA / name), reading)]) for name in FILES)
    actions = concatenate([known, test])  # in the order in which they were sent
    sequences, cut = sequences_of(actions), int(test.times.min())
    found = evaluate(version, TimeSlice(sequences.before(cut), sequences, cut, torch.device("cpu")))
    users = {user: code for code, user in enumerate(dict.fromkeys(actions.users))}
    tested = np.argsort([users[user] for user in actions.users], kind="stable") >= len(known)
    answered = tested[found.positions] & tested[found.positions - 1]
    ranked = ranking(found.served_ranks[answered])
    return ranked.recall[20], ranked.mrr[20], int(answered.sum())


def figures(worker: Running, ranker: str) -> tuple[float, float, float]:
    """Scored events, hits and the sum of reciprocal ranks so far."""
    scored = worker.metric("nextact_scored_total", ranker)
    hits = worker.metric("nextact_hits_total", ranker)
    return scored, hits, worker.metric("nextact_reciprocal_ranks_total", ranker)
