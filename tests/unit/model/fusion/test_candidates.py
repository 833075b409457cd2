"""The compiled loop that collects candidates, against plain Python."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from model.data.contexts import unpack_contexts
from model.data.queries import NO_QUERIES
from model.data.recent import RECENT_LENGTH, RecentActions
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES, NetworkBest
from model.fusion.candidates import MAX_CANDIDATES, Candidates
from model.fusion.fusion import FusionRanking
from model.statistics.rows import NeighbourRows
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of, shoppers, with_a_new_search

FOLLOWERS_ENTER = (64, 24, 12, 12, 8, 8)
LATE_ENTER = (12, 6, 0, 0, 0, 0)
PREDECESSORS_ENTER = (24, 8, 4, 4, 4, 4)
SEARCH, PURCHASE, CART = 1, 2, 4
MASK = 2**64 - 1


@pytest.mark.parametrize("known", [300, 250], ids=["all known", "some came later"])
def test_features_are_those_of_a_plain_loop(known: int) -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE[:known])
    ranking = ranking_of(log, vocabulary, seed=2)
    answers = range(0, len(log), 7)
    recent, best = asked_after(log, vocabulary, answers, seed=2)
    found = ranking.collect(recent, best)

    later = 0
    for n in range(len(answers)):
        expected = features_by_hand(recent, best, ranking, n)
        assert items_of(found, n) == list(expected)
        for column, features in enumerate(expected.values(), found.starts[n]):
            got = dict(zip(FEATURES, found.features[:, column].tolist(), strict=True))
            assert got == pytest.approx(features, rel=1e-4, abs=1e-5)
            later += features["later"] > 0
    assert found.starts[-1] == len(found.items) == found.features.shape[1]
    assert (later > 0) == (known < len(CATALOGUE))
    for name in ("followed_intent", "followed_query", "followed_late_second", "preceded_earlier"):
        assert found.features[FEATURES.index(name)].any(), name


def test_a_search_that_nobody_made_before_stands_for_its_words() -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=2)
    answers = range(0, len(log), 7)
    recent, best = asked_after(log, vocabulary, answers, seed=2)
    recent = with_a_new_search(recent)
    found = ranking.collect(recent, best)

    column = FEATURES.index("followed_query")
    for n in range(len(answers)):
        expected = features_by_hand(recent, best, ranking, n)
        assert items_of(found, n) == list(expected)
        got = found.features[column, found.starts[n] : found.starts[n + 1]].tolist()
        assert got == pytest.approx([one["followed_query"] for one in expected.values()], rel=1e-4, abs=1e-5)
    assert (found.features[column] > 0).sum() > 100
    assert not ranking.collect(recent._replace(words=NO_QUERIES.words), best).features[column].any()


def test_the_same_answers_again_are_the_same_candidates() -> None:
    log, vocabulary = random_log(3), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=4)
    recent, best = asked_after(log, vocabulary, range(50), seed=4)

    first, second = (ranking.collect(recent, best) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_answer_has_no_more_than_the_most_candidates() -> None:
    items = [f"item {n}" for n in range(2000)]
    rng = random.Random(5)
    log = shoppers([[rng.choice(items) for _ in range(60)] for _ in range(200)])
    vocabulary = Vocabulary(items)
    recent, best = asked_after(log, vocabulary, range(59, len(log), 60), seed=6, best=200)
    found = ranking_of(log, vocabulary, seed=6).collect(recent, best)

    assert np.diff(found.starts).max() == MAX_CANDIDATES
    for n in range(len(recent.starts)):
        assert len(set(items_of(found, n))) == len(items_of(found, n))


def test_users_without_actions_get_what_network_and_popularity_offer() -> None:
    log, vocabulary = random_log(7), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=8)
    recent, best = asked_after(log, vocabulary, [0], seed=8)
    nobody = recent._replace(starts=np.zeros(1, np.int64), stops=np.zeros(1, np.int64))
    found = ranking.collect(nobody, best)

    arrays = ranking.live.table.arrays
    assert set(items_of(found, 0)) == {
        *ranking.live.arrays.rows[best.items[0]].tolist(),
        *arrays.popular.everywhere.tolist(),
    }


def items_of(found: Candidates, n: int) -> list[int]:
    items: list[int] = found.items[found.starts[n] : found.starts[n + 1]].tolist()
    return items


def features_by_hand(
    recent: RecentActions, best: NetworkBest, ranking: FusionRanking, n: int
) -> dict[int, dict[str, float]]:
    """Features by row, in the order in which the rows become candidates."""
    live, table = ranking.live.arrays, ranking.live.table
    statistics, numbers, vectors = table.arrays.items, live.numbers, live.vectors
    window = range(max(int(recent.starts[n]), int(recent.stops[n]) - RECENT_LENGTH), int(recent.stops[n]))
    fields = unpack_contexts(recent.contexts)
    by_key = {int(key): row for row, key in enumerate(statistics.keys[: len(table)].tolist())}
    actions = [(by_key[int(recent.item_keys[at])], at) for at in window if fields.types[at] != SEARCH]
    own = list(dict.fromkeys(item for item, _ in reversed(actions)))
    found: dict[int, dict[str, float]] = {}

    def for_all(item: int) -> bool:
        """Whether the vocabulary has an item, or its actions weigh a tenth of one or more today."""
        weight = 2.0 ** (float(statistics.levels[item, 0]) - float(table.arrays.clocks[0]))
        return int(numbers[item]) < live.known or weight >= 0.1

    def enter(item: int) -> dict[str, float]:
        return found.setdefault(item, dict.fromkeys(FEATURES, 0.0))

    def enter_row(rows: NeighbourRows, index: int, entering: int, name: str) -> None:
        for other, share in row(rows, index):
            if other not in found and (entering == 0 or not for_all(other)):
                continue
            entering -= other not in found
            enter(other)[name] += share

    for item in best.items[n].tolist():
        enter(int(live.rows[item]))
    for slot, item in enumerate(own):
        last = max(at for other, at in actions if other == item)
        enter(item).update(
            own=1.0,
            own_recency=1 / (1 + slot),
            own_count=math.log1p(sum(other == item for other, _ in actions)),
            own_last=float(slot == 0),
            own_bought=float(fields.types[last] == PURCHASE),
            own_session=float(not any(fields.boundaries[at] for at in window if at > last)),
        )
    for (older, _), (newer, _) in pairwise(actions):
        if older == own[0]:
            enter(newer)["own_next"] = 1.0
        if newer == own[0]:
            enter(older)["own_previous"] = 1.0
    for slot, item in enumerate(own[:6]):
        name = ("last", "second", "earlier")[min(slot, 2)]
        enter_row(statistics.followers, item, FOLLOWERS_ENTER[slot], f"followed_{name}")
        if slot < 2:
            enter_row(statistics.recent, item, LATE_ENTER[slot], f"followed_late_{name}")
        enter_row(statistics.predecessors, item, PREDECESSORS_ENTER[slot], f"preceded_{name}")
    for at, column, entering in after_sources(recent, fields.types.tolist(), window):
        source = table.source_index.find(np.array([mixed(int(recent.item_keys[at]), int(fields.types[at]))], np.uint64))
        if source[0] >= 0:
            enter_row(table.arrays.sources.followers, int(source[0]), entering, column)
        elif column == "followed_query":
            words = [word_mixed(word) for word in recent.words[n].tolist() if word] if len(recent.words) else []
            rows = [one for one in table.source_index.find(np.array(words, np.uint64)).tolist() if one >= 0]
            for one in rows:
                enter_row(table.arrays.sources.followers, one, 8, column)
            for features in found.values():
                features[column] /= max(len(rows), 1)
    for item in filter(for_all, table.arrays.popular.everywhere.tolist()):
        enter(item)
    if own and statistics.categories[own[0]]:
        for other in table.arrays.popular.alike[statistics.categories[own[0]]].tolist():
            if other >= 0 and for_all(other):
                enter(other)
    logits = vectors @ best.queries[n]
    log_total = math.log(np.exp(logits[: live.known]).sum())
    blend = np.sum([vectors[numbers[item]] / (1 + slot) for slot, item in enumerate(own[:6])], 0)
    last_at = window[-1]
    mean, late = (
        math.log2(table.arrays.sums[column] / ranking.live.count) + table.arrays.sum_bases[column] for column in (0, 1)
    )
    least = table.arrays.clocks[0] - 1
    for item, features in found.items():
        number = int(numbers[item])
        features["log_probability"] = max(float(logits[number]) - log_total, -20) / 4
        for name in [name for name in FEATURES if name.startswith(("followed", "preceded"))]:
            features[name] = math.log1p(1000 * features[name]) / 3
        category, brand = int(statistics.categories[item]), int(statistics.brands[item])
        if own and category:
            features["same_category"] = float(category == statistics.categories[own[0]])
            features["category_share"] = sum(statistics.categories[other] == category for other in own) / len(own)
        if own and brand:
            features["same_brand"] = float(brand == statistics.brands[own[0]])
        popularity = max(float(statistics.levels[item, 0]), least) - max(mean, least)
        trend = max(float(statistics.levels[item, 1]) - late, math.log2(0.2)) - popularity
        own_numbers = [int(numbers[other]) for other in own]
        features.update(
            like_latest=float(vectors[number] @ blend / np.linalg.norm(blend)) if own else 0.0,
            like_last=cosines(vectors, number, own_numbers[:1]),
            like_second=cosines(vectors, number, own_numbers[1:2]),
            popularity=popularity * math.log(2) / 4,
            trend=trend * math.log(2) / 4,
            later=float(number >= live.known),
            history=math.log1p(len(actions)) / 3.5,
            repeats=1 - len(own) / max(1, len(actions)),
            certainty=float(logits[: live.known].max() - log_total) / 4,
            gap=float(fields.gaps[last_at]) / 31,
            boundary=float(fields.boundaries[last_at]),
        )
    return found


def after_sources(recent: RecentActions, types: list[int], window: range) -> list[tuple[int, str, int]]:
    """Which of the last actions count as what something followed, newest first: position, feature, how many enter."""
    found: list[tuple[int, str, int]] = []
    on_items = 0
    for at in reversed(window):
        if on_items >= 4:
            break
        columns = [column for _, column, _ in found]
        if types[at] == SEARCH:
            seen_search = any(types[later] == SEARCH for later in window if later > at)
            if not seen_search and on_items < 3:
                found.append((at, "followed_query", 16))
        else:
            if types[at] in (CART, PURCHASE) and "followed_intent" not in columns:
                found.append((at, "followed_intent", 12))
            on_items += 1
    return found


def mixed(key: int, kind: int) -> int:
    """The key of a source, in Python's own numbers."""
    return ((key ^ ((kind + 1) * 0xE7037ED1A0B428DB & MASK)) * 0xA0761D6478BD642F & MASK) | 1


def word_mixed(word: int) -> int:
    """The key of a word as a source, in Python's own numbers."""
    return ((word * 0xE7037ED1A0B428DB & MASK ^ 0xA0761D6478BD642F) * 0xE7037ED1A0B428DB & MASK) | 1


def cosines(vectors: np.ndarray, item: int, others: list[int]) -> float:
    return sum(float(vectors[item] @ vectors[other] / np.linalg.norm(vectors[other])) for other in others)


def row(of: NeighbourRows, index: int) -> list[tuple[int, float]]:
    pairs = zip(of.items[index].tolist(), (of.weights[index] / max(of.totals[index], 1e-30)).tolist(), strict=True)
    return [(item, share) for item, share in pairs if item >= 0]
