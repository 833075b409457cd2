"""JD.com's behaviour log through the whole program, where the folder with it is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.test_end_to_end import wait_answered

pytestmark = pytest.mark.broker

JDATA = Path(__file__).parents[2].parent / "shared" / "data" / "jdata"
MAPPING = ("--type-map", "follow=favorite", "--type-map", "comment=", "--timezone", "Asia/Shanghai")


@pytest.mark.skipif(not JDATA.exists(), reason="the JData log is not here")
def test_a_real_log_is_answered_learned_and_foreseen(
    settings: Settings, start: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = start("worker")
    worker.wait_ready()
    assert start("send", str(JDATA / "train.csv.gz"), *MAPPING).wait(60) == 0
    wait_answered(worker, settings, timeout=120)
    trainer = start("trainer", "--once")
    assert trainer.wait(240) == 0, trainer.tail()
    assert "promoted" in trainer.tail(), trainer.tail()
    worker.wait_until(lambda: worker.metric("nextact_reloads_total", "loaded") == 1)
    before = {ranker: figures(worker, ranker) for ranker in ("model", "rules")}
    assert start("send", str(JDATA / "test.csv.gz"), *MAPPING).wait(60) == 0
    seen = wait_answered(worker, settings, timeout=120)

    assert set(seen.answered().values()) == {1}
    assert len(seen.answered()) == len(seen.events)
    assert not seen.dead_letters
    live = {}
    for ranker, old in before.items():
        scored, hits, reciprocal = (new - past for new, past in zip(figures(worker, ranker), old, strict=True))
        live[ranker] = (hits / scored, reciprocal / scored, scored)
    with capsys.disabled():
        for ranker, (hit, mrr, scored) in live.items():
            print(f"\nJData test, live, {ranker}: hit@20 {hit:.4f}, MRR@20 {mrr:.4f} on {scored:.0f} events", end="")
    assert live["model"][0] > 0.2  # popularity reaches 0.04
    assert live["model"][1] > 0.08


def figures(worker: Running, ranker: str) -> tuple[float, float, float]:
    """Scored events, hits and the sum of reciprocal ranks so far."""
    scored = worker.metric("nextact_scored_total", ranker)
    hits = worker.metric("nextact_hits_total", ranker)
    return scored, hits, worker.metric("nextact_reciprocal_ranks_total", ranker)
