"""A worker answers with what the evaluation scored: event by event, in whatever batches, as over the log as a whole.

An event has one action or several.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from itertools import chain

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.events import Event, actions_of
from model.data.log_summary import DatedItems
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.purchase_quality import probabilities
from model.evaluation.ranking import Holdout
from model.fusion.combiner import CombinerConfig, identity_combiner
from model.fusion.fusion import Fusion
from model.network.backbones import BackboneName
from model.network.network import NetworkConfig
from model.rounds.fit_model import FitModelConfig, StartingPoint, fit_model
from model.rounds.initial_network import cold_start
from model.serving.served_ranking import NetworkAndLog
from model.serving.serving import Serving, serve
from model.training.fit_network import TrainConfig
from model.training.fit_run import FitRun
from tests.unit.builders.basics import BACKBONES, CPU, HIDDEN, Logged, make_states, make_version
from tests.unit.builders.engines import Engines

ITEMS = tuple(f"item {n}" for n in range(90))  # more than the network names
MOST = 60  # events of a user: more than are looked at, fewer than the ring holds
STATES = 0.01  # what hidden states that are stored as halves change in a log-probability
SHORT = FitModelConfig(
    held_out=0.4,
    from_scratch=False,
    train=TrainConfig(actions=5000),
    combiner=CombinerConfig(least_epochs=12, most_epochs=12, batch=16, learning_rate=1e-2, least=50),
)


@cache
def shop() -> tuple[list[list[Logged]], Sequences]:
    """Users who walk along the items and come back to their own; now and then a search or an item nobody knows.

    Returns the actions of each event, one or several, and the sequences of all.
    """
    rng, waiting = random.Random(1), list[tuple[float, list[Event]]]()
    for user in range(40):
        own: list[int] = []
        for _ in range(rng.choice([2, 5, 20, MOST])):
            item = rng.choice(own) if own and rng.random() < 0.3 else (own[-1] if own else user) + rng.randrange(4)
            own.append(item % len(ITEMS))
            if len(own) == 1 or rng.random() < 0.8:
                waiting.append((rng.random(), []))
            waiting[-1][1].append(_event(rng, str(user), own[-1]))
    log = [
        [Logged(event, 40_000 * n, n, line=line) for line, event in enumerate(events)]
        for n, (_, events) in enumerate(sorted(waiting, key=lambda timed: timed[0]))
    ]
    actions = list(chain.from_iterable(log))
    events, times, lines = ([getattr(action, name) for action in actions] for name in ("event", "time", "line"))
    return log, sequences_of(actions_of(events, times, lines))


def _event(rng: random.Random, user: str, item: int) -> Event:
    if rng.random() < 0.08:
        return Event(user_id=user, type="search", query="red shoes")
    name = "unknown" if rng.random() < 0.05 else ITEMS[item]
    kind = rng.choice(["view", "view", "cart", "purchase"])
    return Event(user_id=user, type=kind, item_id=name, category=f"category {item % 4}", brand=f"brand {item % 7}")


@cache
def trained(backbone: BackboneName) -> Serving:
    shape = NetworkConfig(items=len(ITEMS), width=16, hidden=HIDDEN, backbone=backbone, logit_scale=8.0)
    # All items have their rows from the start on, as in a vocabulary that they are appended to.
    start = StartingPoint(lambda _: cold_start(shape, 1), Vocabulary(ITEMS))
    model = fit_model(shop()[1], DatedItems(ITEMS, np.zeros(len(ITEMS), np.int64)), start, SHORT, FitRun(CPU, 1))
    made = make_version(ITEMS, backbone=backbone)
    fields = {name: getattr(model, name) for name in ("network", "vocabulary", "fusion", "calibration")}
    return serve(replace(made, **fields), CPU)


def ranking_of(serving: Serving) -> NetworkAndLog:
    assert isinstance(serving.ranking, NetworkAndLog)
    return serving.ranking


@cache
def evaluated(backbone: BackboneName) -> NDArray[np.float32]:
    return _evaluated(trained(backbone))


def best_of(log_probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best item of each answer."""
    best: NDArray[np.int64] = log_probabilities[np.isfinite(log_probabilities).any(1)].argmax(1)
    return best


def _evaluated(serving: Serving) -> NDArray[np.float32]:
    """Log-probabilities (A, I) of every item after every action that another follows; minus infinity elsewhere."""
    log = shop()[1]
    answered = np.flatnonzero(log.has_next)
    expected = np.full((len(log), len(ITEMS)), -np.inf, np.float32)
    fusion = ranking_of(serving).fusion
    inputs = FusionRanker(serving.network, serving.vocabulary, fusion, CPU).inputs_of(Holdout(log, answered + 1))
    candidates = inputs.collect(fusion, np.arange(len(answered)))
    scores = fusion.score(candidates)
    none_logit = fusion.combiner.none_logit.item()
    for n, position in enumerate(answered):
        rows = slice(candidates.starts[n], candidates.starts[n + 1])
        row = scores[rows]
        expected[position, candidates.items[rows]] = row - np.logaddexp(np.logaddexp.reduce(row), none_logit)
    return expected


def positions_in_sequences(log: list[list[Logged]]) -> NDArray[np.int64]:
    """The position of each event's last action in `Sequences`."""
    codes: dict[str, int] = {}
    users = [codes.setdefault(action.event.user_id, len(codes)) for action in chain.from_iterable(log)]
    positions = np.empty(len(users), np.int64)
    positions[np.argsort(users, kind="stable")] = np.arange(len(users))
    last: NDArray[np.int64] = positions[np.cumsum([len(event) for event in log]) - 1]
    return last


@pytest.mark.parametrize("most", [2, 40])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_answers_are_what_the_evaluation_scored(backbone: BackboneName, most: int) -> None:
    serving, rng, log = trained(backbone), random.Random(most), shop()[0]
    expected, positions = evaluated(backbone), positions_in_sequences(log)
    engines = Engines(make_states(length=64), rules_share=0, serving=serving)
    start, compared = 0, 0
    while start < len(log):
        batch = log[start : start + rng.randint(1, most)]
        answers = engines.advance(list(chain.from_iterable(batch))).answers
        for row, position in enumerate(positions[start : start + len(batch)]):
            if np.isfinite(expected[position]).any():
                best = np.sort(expected[position])[::-1][:20]
                served = np.log(answers.probabilities[row])
                np.testing.assert_allclose(served, best, atol=STATES)
                np.testing.assert_allclose(served, expected[position, answers.items[row]], atol=STATES)
                assert len(set(answers.items[row].tolist())) == 20
                compared += 1
        start += len(batch)
    assert compared == int(shop()[1].has_next.sum())


@pytest.mark.parametrize("most", [2, 40])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_purchase_probabilities_are_what_the_evaluation_scored(backbone: BackboneName, most: int) -> None:
    serving, rng, (log, sequences) = trained(backbone), random.Random(most), shop()
    everywhere, head = np.arange(len(sequences)), serving.network.purchase
    expected = probabilities(head, serving.vocabulary, serving.calibration, sequences, everywhere)
    assert expected.std() > 0.01  # else anything would do
    engines = Engines(make_states(length=64), rules_share=0, serving=serving)
    positions = positions_in_sequences(log)
    start = 0
    while start < len(log):
        batch = log[start : start + rng.randint(1, most)]
        served = engines.advance(list(chain.from_iterable(batch))).answers.purchase
        np.testing.assert_allclose(served, expected[positions[start : start + len(batch)]], rtol=1e-5)
        start += len(batch)


def test_the_combiner_of_this_test_has_learned_to_listen_to_the_log() -> None:
    """Else the comparison would be one of networks."""
    serving, fused = trained("gru"), evaluated("gru")
    own = ranking_of(serving)
    silent = Fusion(own.fusion.statistics, identity_combiner())
    vectors = serving.network.item_vectors().detach().numpy()
    alone = replace(serving, ranking=NetworkAndLog(own.network, vectors, silent))
    assert float((best_of(fused) != best_of(_evaluated(alone))).mean()) > 0.3
