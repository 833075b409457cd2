"""A worker answers with what the evaluation scored: event by event, in whatever batches, as over the log as a whole.

An event has one action or several.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from itertools import chain, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.events import Event, actions_of, item_key
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
from model.statistics.counted_events import events_of_sequences
from model.statistics.counter import StatisticsCounter
from model.statistics.decay import Decay
from model.statistics.statistics_table import StatisticsTable
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
    model.fusion.statistics.add(np.array([item_key("unknown")], np.uint64), ["unknown"])
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
    expected = np.full((len(log), len(ITEMS) + 1), -np.inf, np.float32)  # and the item that nobody knows
    served = ranking_of(serving).ranking
    fusion = Fusion(served.live.table, served.combiner)
    ranker = FusionRanker(serving.network, serving.vocabulary, fusion, CPU)
    candidates, _ = ranker.collect(ranker.inputs_of(Holdout(log, answered + 1)))
    scores, items = ranker.ranking.score(candidates), ranker.ranking.live.arrays.numbers[candidates.items]
    none_logit = fusion.combiner.none_logit.item()
    for n, position in enumerate(answered):
        rows = slice(candidates.starts[n], candidates.starts[n + 1])
        row = scores[rows]
        expected[position, items[rows]] = row - np.logaddexp(np.logaddexp.reduce(row), none_logit)
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
    silent = Fusion(own.live.table, identity_combiner())
    attributes = serving.network.contexts.weight.detach().numpy()
    ranking = NetworkAndLog(own.network, serving.vocabulary, attributes, silent)
    alone = replace(serving, ranking=ranking)
    assert float((best_of(fused) != best_of(_evaluated(alone))).mean()) > 0.3


class Learning:
    """Statistics that have learned all that was given to them."""

    def __init__(self, decay: Decay) -> None:
        self.counter = StatisticsCounter(StatisticsTable(), decay)

    def learn(self, batch: list[list[Logged]]) -> None:
        actions = list(chain.from_iterable(batch))
        events, times, lines = ([getattr(action, name) for action in actions] for name in ("event", "time", "line"))
        self.counter.learn(actions_of(events, times, lines))

    def up_to_date(self) -> AbstractContextManager[StatisticsTable | None]:
        return nullcontext(self.counter.table)


def log_probabilities_by_key(ranker: FusionRanker, holdout: Holdout) -> list[dict[int, float]]:
    """Those of all candidates of each target, as the statistics are now."""
    candidates, _ = ranker.collect(ranker.inputs_of(holdout))
    scores, keys = ranker.ranking.score(candidates), ranker.ranking.live.table.arrays.items.keys[candidates.items]
    none_logit, found = ranker.ranking.combiner.none_logit.item(), list[dict[int, float]]()
    for begin, end in pairwise(candidates.starts.tolist()):
        own = scores[begin:end] - np.logaddexp(np.logaddexp.reduce(scores[begin:end]), none_logit)
        found.append(dict(zip(keys[begin:end].tolist(), own.tolist(), strict=True)))
    return found


@pytest.mark.parametrize("most", [1, 40])
def test_answers_are_what_the_evaluation_scored_while_statistics_learn(most: int) -> None:
    """The version knows half of the log, and not all items."""
    (log, sequences), rng, decay = shop(), random.Random(most), Decay(0)
    born = {*ITEMS[::6], "unknown"}
    half, known = len(log) // 2, Vocabulary([item for item in ITEMS if item not in born])
    made, before = make_version(known.items), Learning(decay)
    before.learn(log[:half])
    fusion = Fusion(before.counter.table, ranking_of(trained("gru")).ranking.combiner)
    serving = serve(replace(made, fusion=fusion), CPU)
    engines, live = Engines(make_states(length=64), rules_share=0, serving=serving), Learning(decay)
    engines.advance(list(chain.from_iterable(log[:half])))
    live.learn(log[:half])
    engines.answer_engine.statistics = live

    events, _ = events_of_sequences(sequences)
    passing = StatisticsCounter(StatisticsTable(), decay)
    ranker = FusionRanker(made.network, known, Fusion(passing.table, fusion.combiner), CPU)
    positions, learned, start, compared = positions_in_sequences(log), 0, half, 0
    later: set[str] = set()
    while start < len(log):
        batch = log[start : start + rng.randint(1, most)]
        live.learn(batch)
        answers = engines.advance(list(chain.from_iterable(batch))).answers
        start += len(batch)
        actions = sum(map(len, log[:start]))
        passing.learn_events(events.select(slice(learned, actions)))
        learned = actions
        followed = [n for n in range(start - len(batch), start) if sequences.has_next[positions[n]]]
        followed.sort(key=positions.__getitem__)
        holdout = Holdout(sequences, positions[followed] + 1)
        for n, begin, expected in zip(followed, holdout.starts, log_probabilities_by_key(ranker, holdout), strict=True):
            items = answers.items[n - start]
            keys, served = serving.ranking.item_keys[items].tolist(), np.log(answers.probabilities[n - start])
            np.testing.assert_allclose(served, sorted(expected.values(), reverse=True)[:20], atol=STATES)
            np.testing.assert_allclose(served, [expected[key] for key in keys], atol=STATES)
            assert keys == [item_key(answers.names[item]) for item in items]
            fresh = set(keys) - set(sequences.item_keys[begin : positions[n] + 1].tolist())
            later |= {
                answers.names[item] for item in items if item >= len(known) and item_key(answers.names[item]) in fresh
            }
            compared += 1
    assert compared > 100
    assert len(later) > 5  # recommended to users who never saw them
    assert later <= born
