"""A round of training: what the challenger starts from."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest

from model.backbones import BackboneName
from model.checkpoint import Version
from model.data import sequences_of
from model.events import Actions, Event, actions_of
from model.learn import LearnConfig
from model.rounds import Round, RoundConfig, _sample, train_round, unsaved
from model.stored_log import in_memory
from model.train import Progress, TrainConfig
from tests.unit.builders import CPU, SERVED

CONFIG = RoundConfig(hidden=16, learn=LearnConfig(train=TrainConfig(actions=1600, batch_tokens=256)))


def circle(users: int = 40, length: int = 20, items: int = 8) -> Actions:
    """Users who go round a circle of items, one after the other."""
    events, times = [], []
    for place in range(length):
        for user in range(users):
            events.append(Event(user_id=str(user), type="view", item_id=f"i{(user + place) % items}"))
            times.append(1000 * (users * place + user))
    return actions_of(events, times)


def run(config: RoundConfig, champion: Version | None = None) -> tuple[Round, int]:
    """A round, and how many steps its fitting took."""
    steps: Counter[str] = Counter()

    def count(stage: str, _: Progress) -> None:
        steps[stage] += 1

    return train_round(
        in_memory(circle()), champion, config, device=CPU, clock=time.thread_time, progress=count
    ), steps["fitting"]


def as_version(round_: Round) -> Version:
    return unsaved(round_.model)


@pytest.mark.parametrize("backbone", SERVED)
def test_a_round_trains_the_backbone_that_is_asked_for_and_goes_on_from_its_own_kind(backbone: BackboneName) -> None:
    config = replace(CONFIG, backbone=backbone)
    first, cold = run(config)
    assert first.model.network.config.backbone == backbone
    second, warm = run(config, as_version(first))
    assert second.model.network.config.backbone == backbone
    assert warm < cold


@pytest.mark.parametrize("change", [{"backbone": "linear"}, {"hidden": 24}])
def test_a_network_of_another_kind_than_the_champion_begins_anew(change: dict[str, object]) -> None:
    champion, cold = run(CONFIG)
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    challenger, steps = run(config, as_version(champion))
    assert (challenger.model.network.config.backbone, challenger.model.network.config.hidden) == (
        config.backbone,
        config.hidden,
    )
    assert steps == cold  # all of them, not half as for weights that know most of it already
    assert challenger.champion is not None


def test_a_round_on_a_champion_learns_from_no_more_than_it_may() -> None:
    first, _ = run(CONFIG)
    champion = replace(as_version(first), facts={"trained_until": first.trained_until // 2})
    config, known = replace(CONFIG, most_actions=200), sequences_of(circle())
    assert 100 <= len(_sample(champion, config)(known)) <= 200
    assert _sample(None, config)(known) is known
    assert _sample(champion, replace(config, hidden=24))(known) is known
