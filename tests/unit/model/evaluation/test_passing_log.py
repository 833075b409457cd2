"""One pass over a log in the order of time: each target is ranked by what came before it, and by nothing else."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.events import EVENT_TYPES, SEARCH, Event, actions_of, item_key
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.passing_log import PassingFusion, PassingRanker, PassingRules, batches_in_time, rank_in_time
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets
from model.fusion.candidate_features import FOLLOWED, PRECEDED
from model.fusion.combiner import Examples
from model.fusion.fusion import Fusion
from model.network.network import NetworkConfig
from model.rounds.initial_network import cold_start
from model.serving.rules import NO_TYPE, Rules
from model.statistics.counter import StatisticsCounter
from model.statistics.log_statistics import counter_of
from tests.unit.builders.basics import CPU, drawn_combiner

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = Vocabulary(list(LETTERS[:-6]))  # six letters come later
SECOND, SINCE = 1000, 300_000
Timed = tuple[Event, int]


@cache
def shop(seed: int = 1, users: int = 50, actions: int = 700) -> list[Timed]:
    """Users whose actions lie between those of others, in the order of time; each time is given once."""
    rng = random.Random(seed)
    kinds = ("view", "view", "view", "search", "cart", "purchase", "remove")

    def event(n: int) -> Event:
        letter = LETTERS[min(rng.randrange(len(LETTERS)), rng.randrange(len(LETTERS)))]
        user = str(min(rng.randrange(users), rng.randrange(users)) if n % 200 < 150 else n)
        category = f"category {ord(letter) % 5}"
        return Event(user_id=user, type=rng.choice(kinds), item_id=letter, query="shoes", category=category)

    return [(event(n), n * SECOND) for n in range(actions)]


def log_of(events: list[Timed]) -> Sequences:
    return sequences_of(actions_of([event for event, _ in events], [time for _, time in events]))


def holdout_of(log: Sequences, since: int = SINCE) -> Holdout:
    return Holdout(log, log.targets_from(since))


def pass_over(events: list[Timed], since: int) -> tuple[FusionRanker, StatisticsCounter, Holdout]:
    """A ranker with the counter that has learned what was before, and the targets since then."""
    counter = counter_of(log_of([one for one in events if one[1] < since]))
    network = cold_start(NetworkConfig(items=len(VOCABULARY), width=8, hidden=8), 1).eval()
    ranker = FusionRanker(network, VOCABULARY, Fusion(counter.table, drawn_combiner(5)), CPU)
    return ranker, counter, holdout_of(log_of(events), since)


def ranked(events: list[Timed]) -> dict[int, dict[str, tuple[int, list[int]]]]:
    """Rank and list of each target by both rankers, by the time of the target."""
    ranker, counter, holdout = pass_over(events, SINCE)
    rankers: dict[str, PassingRanker] = {
        "fusion": PassingFusion(ranker, holdout),
        "rules": PassingRules(Rules(), holdout),
    }
    found = rank_in_time(rankers, holdout, counter, SINCE)
    times = holdout.sequences.times[holdout.positions].tolist()
    return {
        time: {name: (int(one.ranks[n]), one.top[n].tolist()) for name, one in found.items()}
        for n, time in enumerate(times)
    }


def examples(events: list[Timed], since: int = SINCE) -> dict[int, Examples]:
    """What the combiner would learn from each target, by the time of the target."""
    ranker, counter, holdout = pass_over(events, since)
    inputs, found = ranker.inputs_of(holdout), dict[int, Examples]()
    times = holdout.sequences.times[holdout.positions].tolist()
    for targets in batches_in_time(holdout, counter, since):
        batch = Examples(*ranker.collect(inputs.select(targets)))
        for n, target in enumerate(targets.tolist()):
            found[times[target]] = batch.select(np.array([n]))
    return found


@pytest.mark.parametrize("count", [301, 340, 431, 500, 699])
def test_what_comes_later_changes_no_rank(count: int) -> None:
    whole, cut = ranked(shop()), ranked(shop()[:count])
    assert cut == {time: ranks for time, ranks in whole.items() if time < count * SECOND}
    assert len(whole) > 200
    for name in ("fusion", "rules"):
        assert sum(ranks[name][0] != MISSED for ranks in whole.values()) > 50


@pytest.mark.parametrize("count", [340, 501])
def test_what_comes_later_changes_no_example(count: int) -> None:
    whole, cut = examples(shop()), examples(shop()[:count])
    assert cut.keys() == {time for time in whole if time < count * SECOND}
    for time, example in cut.items():
        np.testing.assert_array_equal(example.targets, whole[time].targets)
        np.testing.assert_array_equal(example.candidates.items, whole[time].candidates.items)
        np.testing.assert_allclose(example.candidates.features, whole[time].candidates.features, atol=1e-6)


class Recorder:
    """Notes what it is asked and told, in order."""

    def __init__(self, holdout: Holdout) -> None:
        self.holdout, self.batches, self.asked = holdout, list[list[int]](), list[int]()

    def rank_some(self, targets: NDArray[np.int64]) -> RankedTargets:
        self.asked = self.holdout.positions[targets].tolist()
        return RankedTargets(targets + 1, np.zeros((len(targets), LIST_SIZE), np.uint64))

    def learn(self, positions: NDArray[np.int64]) -> None:
        """Whatever is a target of the batch was asked for first, and nothing else was."""
        of_batch = positions.tolist()
        assert sorted(self.asked) == sorted(set(of_batch) & set(self.holdout.positions.tolist()))
        self.batches.append(of_batch)
        self.asked = []


@pytest.mark.parametrize("seed", [1, 2])
def test_batches_end_at_a_users_second_action_or_at_64_events(seed: int) -> None:
    log = log_of(shop(seed))
    holdout = holdout_of(log)
    recorder = Recorder(holdout)
    found = rank_in_time({"recorder": recorder}, holdout, counter_of(log_of(shop(seed)[:300])), SINCE)["recorder"]

    batches: list[list[int]] = [[]]
    for number, (event, time) in enumerate(shop(seed)):
        if time >= SINCE:
            users = {shop(seed)[other][0].user_id for other in batches[-1]}
            if event.user_id in users or len(users) == 64:
                batches.append([])
            batches[-1].append(number)
    numbers = (log.times // SECOND).tolist()
    assert [[numbers[position] for position in batch] for batch in recorder.batches] == batches
    assert max(map(len, batches)) > 10
    assert found.ranks.tolist() == list(range(1, len(holdout) + 1))  # each target where it belongs


def test_a_batch_has_64_events_at_most() -> None:
    events = [(Event(user_id=str(n), type="view", item_id=LETTERS[n % 9]), n * SECOND) for n in range(150)]
    events += [(event, time + 150 * SECOND) for event, time in events]
    log = log_of(events)
    recorder = Recorder(holdout_of(log, 0))
    rank_in_time({"recorder": recorder}, recorder.holdout, counter_of(log_of([])), 0)
    assert [len(batch) for batch in recorder.batches] == [64, 64, 64, 64, 44]


def test_an_example_is_not_counted_before_it_is_asked_for() -> None:
    """The first time that b follows a nobody has seen it, and the second time everybody has."""
    order = (("u", "a"), ("v", "b"), ("w", "c"), ("u", "b"), ("x", "a"), ("x", "b"), ("y", "b"), ("y", "a"))
    events = [(Event(user_id=user, type="view", item_id=item), n * SECOND) for n, (user, item) in enumerate(order)]
    found = examples(events, since=0)

    def feature(at: int, column: int) -> float:
        candidates, target = found[at * SECOND].candidates, found[at * SECOND].targets[0]
        return float(candidates.features[column, candidates.items == target][0])

    assert feature(3, FOLLOWED) == feature(3, PRECEDED) == 0
    assert feature(5, FOLLOWED) > 0
    assert feature(5, PRECEDED) == 0
    assert feature(7, PRECEDED) > 0  # a came before b
    assert feature(7, FOLLOWED) == 0


def test_an_item_that_came_later_is_a_candidate_once_somebody_touched_it() -> None:
    events = shop()[:300]
    order = (("p", "a"), ("q", "a"), ("p", "new"), ("q", "new"), ("r", "b"), ("r", "new"))
    events += [
        (Event(user_id=user, type="view", item_id=item), SINCE + n * SECOND) for n, (user, item) in enumerate(order)
    ]
    found = {time: ranks["fusion"] for time, ranks in ranked(events).items()}
    assert found[SINCE + 2 * SECOND][0] == MISSED
    assert found[SINCE + 3 * SECOND][0] == MISSED  # of the same batch
    assert item_key("new") not in found[SINCE + 3 * SECOND][1]
    assert found[SINCE + 5 * SECOND][0] != MISSED
    later = [rank for rank, _ in ranked_later(shop()).values()]
    assert MISSED in later
    assert len([rank for rank in later if rank != MISSED]) > 3


def ranked_later(events: list[Timed]) -> dict[int, tuple[int, list[int]]]:
    """Ranks by the fusion of the targets that the vocabulary lacks."""
    items = {time: event.item_id for event, time in events}
    return {time: ranks["fusion"] for time, ranks in ranked(events).items() if items[time] not in VOCABULARY.items}


@pytest.mark.parametrize("seed", [1, 2])
def test_rules_learn_what_a_plain_loop_over_events_lets_them_learn(seed: int) -> None:
    events, rules = shop(seed), Rules()
    found = {time: ranks["rules"] for time, ranks in ranked(events).items()}
    pasts: dict[str, list[Event]] = defaultdict(list)
    waiting: list[Event] = []  # of the batch: seen, but not learned
    learned: dict[str, list[Event]] = defaultdict(list)
    for event, time in events:
        if time < SINCE:
            learned[event.user_id].append(event)
        else:
            if event.user_id in {other.user_id for other in waiting} or len(waiting) == 64:
                for other in waiting:
                    learn(rules, learned[other.user_id], other)
                waiting = []
            if pasts[event.user_id] and event.type not in ("search", "remove"):
                expected = rules.rank(items_of(pasts[event.user_id])[: 2 * LIST_SIZE], LIST_SIZE)
                key = item_key(event.item_id or "")
                rank = expected.index(key) + 1 if key in expected else MISSED
                assert found.pop(time) == (rank, expected + [0] * (LIST_SIZE - len(expected)))
            waiting.append(event)
        pasts[event.user_id].append(event)
    assert not found


def items_of(past: list[Event]) -> list[int]:
    """The items of a user's past, each once, latest first."""
    return list(dict.fromkeys(item_key(event.item_id or "") for event in reversed(past) if event.type != "search"))


def learn(rules: Rules, past: list[Event], event: Event) -> None:
    """Lets rules learn an event as a worker does, and the user's past have it."""
    kinds = [EVENT_TYPES.index(one.type) for one in (*past, event)]
    rules.learn_type(kinds[-2] if past else NO_TYPE, kinds[-1])
    if kinds[-1] != SEARCH:
        on_items = [item_key(one.item_id or "") for one in past if one.type != "search"]
        rules.learn(on_items[::-1][:10], item_key(event.item_id or ""), "")
    past.append(event)
