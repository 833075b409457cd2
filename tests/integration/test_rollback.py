"""A bad version in production: forced in by hand, it is found out by live traffic and taken back, with an alert."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from model.data.vocabulary import Vocabulary
from model.versions.version import load, save
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.simulate import Shop
from stream_app.settings import Settings
from stream_app.versions.admin import list_models
from tests.integration.running import Running
from tests.integration.test_models import train
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker

TWO_MINUTES = 120.0
SEED = 1  # of the shop, whose regulars are those that the good version has learned from
BACKLOG = 5000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A small network, quickly trained, and enough users on the version before for a quick verdict."""
    return settings.model_copy(update={"hidden": 32, "canary_share": 0.3})


def save_shuffled(settings: Settings, good: str) -> str:
    """A version with the good one's weights, but whose items have each other's names: as if trained on shuffled
    targets, and sound in all that is checked when it is loaded."""
    version = load(f"{settings.registry}/{good}")
    items = list(version.vocabulary.items)
    random.Random(1).shuffle(items)
    made = replace(version, name="shuffled", vocabulary=Vocabulary(items), metrics={}, facts={})
    save(f"{settings.registry}/shuffled", made)
    return "shuffled"


def champion(settings: Settings) -> str:
    (serving,) = [line.version for line in asyncio.run(list_models(settings)) if line.state == "serving"]
    return serving


def test_a_bad_version_is_taken_back_by_itself(
    settings: Settings, start: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, Shop(SEED, start=1_700_000_000, rate=50).events(BACKLOG))
    trained = train(start)
    assert "promoted" in trained, trained
    good = champion(settings)
    trainer = start("trainer", train_min_events=10**9)  # trains no more, only watches
    workers = start("worker"), start("worker")
    for one in workers:
        one.wait_ready()
    shop = start("simulate", "--rate", "200", "--seed", str(SEED))
    for one in workers:
        one.wait_until(lambda one=one: one.metric("nextact_version_scored_total", good) > 0, needs=(shop,))  # type: ignore[misc]

    assert start("models", "promote", save_shuffled(settings, good)).wait(60) == 0
    begun = time.monotonic()
    for one in workers:
        one.wait_until(lambda one=one: one.metric("nextact_model_info", "shuffled") == 1, needs=(trainer, shop))  # type: ignore[misc]
        assert {good, "shuffled"} == one.labels("nextact_version_scored_total", "version")
    trainer.wait_until(
        lambda: trainer.metric("nextact_trainer_rollbacks_total") == 1, timeout=TWO_MINUTES, needs=(*workers, shop)
    )
    for one in workers:
        one.wait_until(lambda one=one: one.metric("nextact_model_info", good) == 1)  # type: ignore[misc]
    took = time.monotonic() - begun
    assert champion(settings) == good
    assert f"went back from shuffled to {good}: live " in trainer.tail()
    with capsys.disabled():
        print(f"\na bad version, promoted by hand, served for {took:.0f} s at 200 events/s", end="")
    assert took < TWO_MINUTES
    shop.kill()
    for process in (*workers, trainer):
        assert process.terminate() == 0, process.tail()
