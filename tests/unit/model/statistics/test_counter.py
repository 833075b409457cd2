"""Counting, against plain Python; and that neither batches nor what comes later change what was counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from model.statistics.counter import StatisticsCounter, source_key, word_key
from model.statistics.decay import Decay
from model.statistics.rows import NeighbourRows
from model.statistics.statistics_table import POPULAR, POPULAR_ALIKE, StatisticsTable
from tests.unit.model.statistics.oracle import (
    DAY,
    HOUR,
    START,
    Act,
    PlainCounter,
    actions_from,
    arrays_of,
    assert_same_arrays,
    bucket,
    key_of,
    neighbours_of,
    random_acts,
)


@pytest.mark.parametrize("seed", range(6))
def test_all_that_is_counted_is_what_plain_python_counts(seed: int) -> None:
    acts = random_acts(seed, late=seed % 2 == 1)
    table = counted(acts)
    assert_counts(table, PlainCounter(START).learn(acts))


def test_a_young_and_a_very_old_stream_count_alike() -> None:
    """Rows get new bases again and again where half-lives pass quickly, and where years do."""
    young = [replace(act, time=START + (act.time - START) // 5000) for act in random_acts(7)]
    old = [replace(act, time=START + (act.time - START) * 40) for act in random_acts(8)]
    assert old[-1].time - START > 1000 * DAY
    for acts, floor in ((young, 100), ([act for act in old if act.time < START + 600 * DAY], HOUR)):
        counter = StatisticsCounter(StatisticsTable(), Decay(START, floor))
        counter.learn(actions_from(acts))
        assert_counts(counter.table, PlainCounter(START, floor).learn(acts))
    assert np.isfinite(counted(old).arrays.items.levels[:14]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_log_in_any_batches_gives_the_same_bits(seed: int) -> None:
    acts, rng = random_acts(seed, 240, items=40, users=12, late=True), random.Random(seed)
    acts = [replace(acts[0], time=START + DAY), *acts]  # the oldest time does not come first
    whole = counted(acts)
    for pieces in (len(acts), rng.randrange(2, 30)):
        cuts = sorted(rng.sample(range(1, len(acts)), pieces - 1))
        assert_same_arrays(whole, counted(acts, cuts))
    assert whole.size == len(whole.names) == len(whole.index)
    assert whole.source_size == len(whole.source_index)


def test_what_comes_later_never_changes_what_was_counted_before() -> None:
    acts = random_acts(11, 200, late=True)
    counter, one_table = StatisticsCounter(StatisticsTable()), StatisticsTable()
    for start, end in pairwise((0, 1, 60, 61, 150, 200)):
        counter.learn(actions_from(acts[start:end]))
        one_table = counted(acts[:end])
        assert_same_arrays(one_table, counter.table)
    assert one_table.decay == counter.table.decay == Decay(START)


@pytest.mark.parametrize(
    ("kinds", "ms", "past"),
    [
        (["view"] * 10, 60_001, True),
        (["view"] * 10, 60_000, False),
        (["view"] * 9, 60_001, False),
        (["view"] * 9, 30 * DAY, False),
        (["view"] * 9 + ["search"], 60_001, True),
        (["view"] * 9 + ["remove"], 60_001, False),
        (["view"] * 200, 60_000, False),
        ([], 0, False),
    ],
)
def test_a_user_has_a_past_after_ten_actions_and_a_minute(kinds: list[str], ms: int, past: bool) -> None:
    crowd = regulars(100)
    begin = crowd[-1].time
    before = [Act("ada", kind, "old", begin) for kind in kinds]
    table = counted([*crowd, *before, Act("ada", "view", "new", begin + ms)])
    weight = today(table, "new", begin + ms)[0]
    assert weight == pytest.approx(1) if past else weight < 0.1


@pytest.mark.parametrize("past", [0.8, 0.5])
def test_a_crowd_of_newcomers_weighs_less_than_a_tenth_of_a_user_with_a_past(past: float) -> None:
    """However many they are, within an hour."""
    acts = mixed_shop(past)
    begin = acts[-1].time + HOUR - acts[-1].time % HOUR
    crowd = [Act(f"crowd {n}", "view", item, begin + n) for n in range(300) for item in ("known", "pushed")]
    table = counted([*acts, *crowd])
    assert 0 < today(table, "pushed", begin)[0] < 0.1
    assert 0 < followers(table, "known", begin)[key_of("pushed")] < 0.1

    users = [Act(f"regular {n}", "view", item, begin + n) for n in range(30) for item in ("known", "pushed")]
    table = counted([*acts, *users])
    assert today(table, "pushed", begin)[0] == pytest.approx(30, rel=0.01)
    assert followers(table, "known", begin)[key_of("pushed")] == pytest.approx(30, rel=0.01)


def test_newcomers_count_where_hardly_anybody_has_a_past() -> None:
    acts = mixed_shop(0.01)
    begin = acts[-1].time + HOUR - acts[-1].time % HOUR
    visitors = [Act(f"visitor {n}", "view", item, begin + n) for n in range(10) for item in ("known", "new")]
    assert followers(counted([*acts, *visitors]), "known", begin)[key_of("new")] > 5
    nobody = [replace(visit, time=START + n) for n, visit in enumerate(visitors)]
    assert followers(counted(nobody), "known", START)[key_of("new")] == pytest.approx(10, rel=1e-3)


def test_what_one_user_repeats_counts_once_an_hour() -> None:
    """The item and the pair; others and the next hour count again."""
    begin = START - START % HOUR
    acts = [Act("ada", "view", item, begin + n) for n, item in enumerate("ab" * 20)]
    once = counted(acts)
    assert today(once, "a", begin) == pytest.approx([1, 1], rel=1e-3)
    assert followers(once, "a", begin)[key_of("b")] == pytest.approx(1, rel=1e-3)

    others = [Act("ben", "view", item, begin + 50 + n) for n, item in enumerate("ab")]
    both = counted([*acts, *others])
    assert today(both, "a", begin) == pytest.approx([2, 2], rel=1e-3)
    assert followers(both, "a", begin)[key_of("b")] == pytest.approx(2, rel=1e-3)

    late = begin + HOUR
    next_hour = counted([*acts, replace(acts[0], time=late), replace(acts[1], time=late)])
    slow, fast = PlainCounter(begin).worth(late)
    # By now ada has a past; b followed a before it, right behind a.
    assert today(next_hour, "a", late) == pytest.approx([1 + 1 / slow, 1 + 1 / fast], rel=1e-3)
    assert followers(next_hour, "a", late)[key_of("b")] == pytest.approx(1 + 1 / slow, rel=1e-3)


def test_returned_goods_do_not_count() -> None:
    acts = [act for act in random_acts(4) if act.kind != "remove"]
    returned = [piece for act in acts for piece in (act, Act(act.user, "remove", "item 1", act.time))]
    returned += [Act("ada", "remove", "never", act.time) for act in acts]
    assert_same_arrays(counted(acts), counted(returned))


def test_uncounted_events_build_pasts_and_leave_the_table_as_it_is() -> None:
    acts = random_acts(5, 200)
    counter, oracle = StatisticsCounter(StatisticsTable(), Decay(START)), PlainCounter(START)
    counter.table.add(np.array([key_of(f"item {n}") for n in range(14)], np.uint64))
    counter.learn(actions_from(acts[:120]), counted=False)
    assert (counter.table.arrays.items.times == 0).all()
    assert counter.table.source_size == 0
    before = arrays_of(counter.table)
    counter.learn(actions_from(acts[120:130]), counted=False)
    for name, array in arrays_of(counter.table).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)

    oracle.learn(acts[:130], counted=False)
    for act in acts[130:]:
        counter.learn(actions_from([act]))
    touched = oracle.learn(acts[130:]).items
    assert {key_of(item) for item in touched} <= set(counter.table.arrays.items.keys.tolist())
    assert_counts(counter.table, oracle)


@pytest.mark.parametrize("seed", range(2))
def test_the_popular_items_are_those_of_the_highest_levels(seed: int) -> None:
    """Also among many, where most come and go."""
    rng = random.Random(seed)
    acts = []
    for n in range(1500):
        number = (n // 300 * 20 + min(rng.randrange(200), rng.randrange(200))) % 200
        acts.append(Act(f"user {rng.randrange(60)}", "view", f"item {number}", START + n * 400_000, f"c{number % 3}"))
    table = counted(acts, range(100, 1500, 100))
    oracle = PlainCounter(START).learn(acts)
    fast = {key_of(item): np.log2(row.fast) for item, row in oracle.items.items()}

    assert_highest(table, table.arrays.popular.everywhere, fast, POPULAR)
    for kind in range(3):
        alike = {key_of(item): fast[key_of(item)] for item in oracle.items if int(item.split()[1]) % 3 == kind}
        assert_highest(table, table.arrays.popular.alike[bucket(f"c{kind}", 1024)], alike, POPULAR_ALIKE)
    others = np.delete(table.arrays.popular.alike, [bucket(f"c{kind}", 1024) for kind in range(3)], axis=0)
    assert (others == -1).all()


def test_rows_full_of_neighbours_keep_the_heaviest() -> None:
    """More items follow than there is room for; totals are of all."""
    heavy = [f"heavy {n}" for n in range(8)]
    acts = []
    for n in range(400):
        follower = heavy[n // 2 % 8] if n % 2 else f"light {n}"
        acts += [Act(f"user {n}", "view", item, START + n * 1000) for item in ("first", follower)]
    table = counted(acts)
    row = row_of(table, "first")
    found = neighbours_of(table, table.arrays.items.followers, row)
    assert len(found) == table.widths.followers
    assert set(list(found)[:8]) == {key_of(item) for item in heavy}
    oracle = PlainCounter(START).learn(acts).items["first"]
    total = table.arrays.items.followers.totals[row] * 2.0 ** table.arrays.items.bases[row, 0]
    assert total == pytest.approx(sum(oracle.followers.values()), rel=1e-3)


def test_nothing_is_nothing() -> None:
    counter = StatisticsCounter(StatisticsTable())
    counter.learn(actions_from([]))
    assert (counter.table.size, counter.table.decay) == (0, None)


def test_many_users_at_once_keep_their_pasts() -> None:
    """A batch brings more users than there were places for."""
    users = [f"user {n}" for n in range(6000)]
    acts = [Act(user, "view", "a", START) for user in users] + [Act(user, "view", "b", START) for user in users]
    for cuts in (range(0), range(500, len(acts), 500)):
        weight = followers(counted(acts, cuts), "a", START).get(key_of("b"), 0.0)
        assert weight == pytest.approx(len(users), rel=0.03)


def test_a_full_table_counts_the_newest_items() -> None:
    """Where room for searches makes items go, those of the batch stay."""
    table = StatisticsTable(memory=1 << 20)
    counter, newest = StatisticsCounter(table), list[str]()
    for batch in range(60):
        time = START + batch * HOUR
        newest = [f"item {batch} {n}" for n in range(40)]
        acts = [Act("ada", "view", item, time + n) for n, item in enumerate(newest)]
        acts += [Act("ada", "search", f"query {batch} {n}", time) for n in range(40)]
        counter.learn(actions_from(acts))
        rows = table.rows_of(np.array([key_of(item) for item in newest], np.uint64))
        assert (rows >= 0).all()
        assert (table.arrays.items.times[rows] >= time).all()
    assert min(table.dropped_items, table.dropped_sources) > 0
    assert table.nbytes <= table.memory


def test_keys_of_sources_differ_from_each_other() -> None:
    keys = [np.uint64(key) for key in (0, 1, 2, 2**63, 2**64 - 1, key_of("a"))]
    sources = [int(source_key(key, kind)) for key in keys for kind in (1, 2, 4)]
    words = [int(word_key(np.uint16(word))) for word in range(1, 65_521, 7)]
    assert len({*sources, *words}) >= len(sources) - 1 + len(words)  # 2 and others may share the lowest bit


def counted(acts: Sequence[Act], cuts: Sequence[int] = ()) -> StatisticsTable:
    """Returns a table that learned actions in batches that end at these cuts."""
    counter = StatisticsCounter(StatisticsTable())
    for start, end in pairwise((0, *cuts, len(acts))):
        counter.learn(actions_from(acts[start:end]))
    return counter.table


def regulars(count: int) -> list[Act]:
    """Users that get a past, and do twice as much afterwards."""
    return [
        Act(f"regular {user}", "view", f"item {(user + n) % 50}", START + n * 10_000)
        for n in range(30)
        for user in range(count)
    ]


def mixed_shop(past: float) -> list[Act]:
    """What is done in a shop where so large a share of the actions is by users with a past."""
    acts = regulars(100)
    visits = int(2000 / past) - len(acts)
    last = acts[-1].time
    return acts + [Act(f"visitor {n}", "view", f"item {n % 50}", last) for n in range(visits)]


def row_of(table: StatisticsTable, item: str) -> int:
    return int(table.rows_of(np.array([key_of(item)], np.uint64))[0])


def today(table: StatisticsTable, item: str, time: int) -> list[float]:
    """What was counted of an item, in weights of a time."""
    row, worth = row_of(table, item), begun(table).worth(time)
    counts = table.arrays.items.counts[row] * 2.0 ** table.arrays.items.bases[row]
    return [float(count / unit) for count, unit in zip(counts, worth, strict=True)]


def followers(table: StatisticsTable, item: str, time: int) -> dict[int, float]:
    row, items = row_of(table, item), table.arrays.items
    found = neighbours_of(table, items.followers, row, float(items.bases[row, 0]))
    return {key: weight / begun(table).worth(time)[0] for key, weight in found.items()}


def begun(table: StatisticsTable) -> PlainCounter:
    assert table.decay is not None
    return PlainCounter(table.decay.start, table.decay.floor)


def assert_counts(table: StatisticsTable, oracle: PlainCounter) -> None:
    arrays, names = table.arrays, {key_of(item): row for item, row in oracle.items.items()}
    nothing = tuple(1e-30 * unit for unit in oracle.worth(max(row.time for row in oracle.items.values())))  # today
    for row, key in enumerate(arrays.items.keys[: table.size].tolist()):
        expected = names.pop(key, None)
        if expected is None:
            assert arrays.items.times[row] == 0
            continue
        items, (slow, fast) = arrays.items, arrays.items.bases[row].tolist()
        assert items.times[row] == expected.time
        assert (items.categories[row], items.brands[row]) == (
            bucket(expected.category, 1024),
            bucket(expected.brand, 512),
        )
        counts = (items.counts[row] * 2.0 ** items.bases[row]).tolist()
        assert counts[0] == pytest.approx(expected.slow, rel=1e-4, abs=nothing[0])
        assert counts[1] == pytest.approx(expected.fast, rel=1e-4, abs=nothing[1])
        assert items.levels[row].tolist() == pytest.approx(np.log2([expected.slow, expected.fast]).tolist(), abs=1e-3)
        assert_neighbours(table, items.followers, row, (slow, nothing[0]), expected.followers)
        assert_neighbours(table, items.predecessors, row, (slow, nothing[0]), expected.predecessors)
        assert_neighbours(table, items.recent, row, (fast, nothing[1]), expected.recent)
    assert names == {}
    assert arrays.sources.keys[: table.source_size].tolist() == list(oracle.sources)  # in the order in which they came
    for row, followed in enumerate(oracle.sources.values()):
        base = float(arrays.sources.bases[row])
        assert_neighbours(table, arrays.sources.followers, row, (base, nothing[0]), followed)
    assert (arrays.sums * 2.0**arrays.sum_bases).tolist() == pytest.approx(oracle.sums, rel=1e-4)


def assert_neighbours(
    table: StatisticsTable, rows: NeighbourRows, row: int, units: tuple[float, float], expected: dict[str, float]
) -> None:
    base, nothing = units
    found, wanted = neighbours_of(table, rows, row, base), {key_of(item): weight for item, weight in expected.items()}
    assert found.keys() == wanted.keys()
    least = nothing + 1e-5 * max(wanted.values(), default=0)
    assert found == pytest.approx(wanted, rel=1e-3, abs=least)
    assert float(rows.totals[row]) * 2.0**base == pytest.approx(sum(wanted.values()), rel=1e-3, abs=nothing)


def assert_highest(table: StatisticsTable, rows: NDArray[np.int32], levels: dict[int, float], most: int) -> None:
    found = table.arrays.items.keys[rows[rows >= 0]].tolist()
    assert len(found) == len(set(found)) == min(most, len(levels))
    others = [level for key, level in levels.items() if key not in found]
    assert min(levels[key] for key in found) >= max(others, default=-np.inf) - 1e-3
