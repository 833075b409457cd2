"""The simulated shop's events: their contract, their mix, their clock, and the oracle of the next item."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import msgspec
import pytest

from model.data.events import EVENT_TYPES, Event
from stream_app.contract.decoded import REASONS
from stream_app.contract.events import decode_batch
from stream_app.contract.records import Record
from stream_app.errors import SettingsInvalid
from stream_app.sandbox.simulate import POISON_KINDS, Shop, poisoned, with_duplicates, with_poison

START = 1_700_000_000.0


@dataclass
class Stored:
    key: bytes | None
    value: bytes | None
    offset: int = 0
    timestamp: int = 0


def shop(seed: int = 1, **options: Any) -> Shop:
    return Shop(seed, start=START, **options)


def test_the_same_seed_gives_the_same_events() -> None:
    assert list(shop(7).events(2000)) == list(shop(7).events(2000))
    assert list(shop(7).events(100)) != list(shop(8).events(100))


def test_calls_go_on_where_the_last_one_stopped() -> None:
    whole, halves = shop(), shop()
    assert list(whole.events(300)) == [*halves.events(100), *halves.events(200)]


def test_events_keep_the_contract() -> None:
    records: list[Record] = [
        Stored(event["user_id"].encode(), msgspec.json.encode(event)) for event in shop().events(3000)
    ]
    assert decode_batch(records).rejected == []


def test_events_have_all_fields_that_their_type_allows() -> None:
    for event in shop().events(2000):
        assert {"event_id", "session_id", "timestamp"} <= set(event)
        if event["type"] == "search":
            assert event["query"]
        else:
            assert {"item_id", "category", "brand", "price", "currency"} <= set(event)
        assert set(event) <= set(Event.__struct_fields__)


def test_event_ids_are_unique_and_differ_between_starts() -> None:
    ids = [event["event_id"] for event in shop().events(2000)]
    later = [event["event_id"] for event in Shop(1, start=START + 1).events(2000)]
    assert len({*ids, *later}) == 4000


def test_types_have_about_their_shares() -> None:
    count = 30_000
    mix = Counter(event["type"] for event in shop().events(count))
    shares = {kind: mix[kind] / count for kind in EVENT_TYPES}
    expected = {"search": 0.1, "cart": 0.08, "purchase": 0.04, "favorite": 0.04, "remove": 0.02}
    for kind, share in expected.items():
        assert shares[kind] == pytest.approx(share, rel=0.25)
    assert shares["view"] + shares["click"] == pytest.approx(0.7, abs=0.04)


def test_clock_runs_at_about_the_rate_and_never_back() -> None:
    times = [event["timestamp"] for event in shop(rate=50).events(30_000)]
    assert times == sorted(times)
    # The shop opens empty and takes some minutes to fill.
    assert (times[-1] - times[10_000]) / 1000 == pytest.approx(20_000 / 50, rel=0.15)


def test_events_may_be_stamped_by_a_real_clock() -> None:
    assert {event["timestamp"] for event in shop().events(10, now=lambda: 5.5)} == {5500}


def test_users_come_back_and_new_ones_keep_coming_in_bounded_memory() -> None:
    crowd = shop(users=50, new_share=0.2, rate=1)
    visits: defaultdict[str, set[str]] = defaultdict(set)
    for event in crowd.events(5000):
        visits[event["user_id"]].add(event["session_id"])
    assert len(visits) > 100
    assert sum(len(sessions) > 1 for sessions in visits.values()) > 40
    assert len(crowd._by_id) < 100


@pytest.mark.parametrize("options", [{"items": 3}, {"users": 0}, {"rate": 0}, {"new_share": 1.5}])
def test_impossible_shops_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        shop(**options)


def test_oracle_beats_the_rules_and_knows_how_often_it_is_right() -> None:
    """The truth is there to be learned: the rules of thumb stay well behind the best ranking possible."""
    hits, expected, targets = _hits_at_20(shop(1), train=24_000, test=6_000)
    popular, rules, oracle = (hits[name] / targets for name in ("popular", "rules", "oracle"))
    assert popular < 0.25
    assert 0.45 < rules < 0.65
    assert oracle > rules + 0.15
    assert oracle == pytest.approx(expected / targets, abs=0.02)


def _hits_at_20(world: Shop, train: int, test: int) -> tuple[Counter[str], float, int]:
    histories, moves, popularity = _transitions(world, train)
    top = [item for item, _ in popularity.most_common(20)]
    hits: Counter[str] = Counter()
    expected, targets = 0.0, 0
    oracle: dict[str, dict[str, float]] = {}
    for event in world.events(test):
        user, item = event["user_id"], event.get("item_id")
        if item and user in oracle:
            best = sorted(oracle[user], key=lambda name: -oracle[user][name])[:20]
            own = list(dict.fromkeys(reversed(histories[user])))
            follow = [name for name, _ in moves[own[0]].most_common(20)] if own else []
            hits.update(popular=item in top, rules=item in _interleaved(follow, own), oracle=item in best)
            # The share of the best 20, given that the event is on an item at all.
            expected += sum(oracle[user][name] for name in best) / sum(oracle[user].values())
            targets += 1
        if item:
            histories[user].append(item)
        oracle[user] = world.next_probabilities(user)
    return hits, expected, targets


def _transitions(
    world: Shop, count: int
) -> tuple[defaultdict[str, list[str]], defaultdict[str, Counter[str]], Counter[str]]:
    histories: defaultdict[str, list[str]] = defaultdict(list)
    moves: defaultdict[str, Counter[str]] = defaultdict(Counter)
    popularity: Counter[str] = Counter()
    for event in world.events(count):
        item = event.get("item_id")
        if item:
            history = histories[event["user_id"]]
            popularity[item] += 1
            for gap, earlier in enumerate(reversed(history[-10:]), 1):
                moves[earlier][item] += 1 / gap  # type: ignore[assignment]
            history.append(item)
    return histories, moves, popularity


def _interleaved(first: Sequence[str], second: Sequence[str]) -> list[str]:
    mixed: Iterator[str | None] = chain.from_iterable(zip_longest(first, second))
    return list(dict.fromkeys(item for item in mixed if item))[:20]


def test_oracle_ranks_by_probability() -> None:
    world = shop()
    for event in world.events(500):
        shares = world.next_probabilities(event["user_id"])
        ranked = world.oracle_ranking(event["user_id"], 5)
        assert 0 < sum(shares.values()) <= 1 + 1e-9
        assert [shares[item] for item in ranked] == sorted(shares.values(), reverse=True)[:5]


def test_duplicates_repeat_recent_events_with_their_ids() -> None:
    events = list(with_duplicates(shop().events(5000), 0.1, random.Random(1)))
    seen: dict[str, dict[str, Any]] = {}
    repeats = 0
    for event in events:
        repeats += event["event_id"] in seen
        assert seen.setdefault(event["event_id"], event) == event
    assert repeats == len(events) - 5000
    assert repeats / len(events) == pytest.approx(0.1, abs=0.02)


def test_poison_has_its_share_and_all_kinds() -> None:
    records = list(with_poison(shop().events(5000), 0.05, random.Random(1)))
    raw = [record for record in records if isinstance(record, tuple)]
    assert len(raw) / len(records) == pytest.approx(0.05, abs=0.01)
    assert len(set(raw)) > len(POISON_KINDS)


def test_poison_gives_every_reason_for_a_dead_letter() -> None:
    event = next(shop().events(1))
    reasons = {}
    for kind in POISON_KINDS:
        key, value = poisoned(event, kind)
        rejected = decode_batch([Stored(key, value)]).rejected
        assert rejected, kind
        reasons[kind] = rejected[0].reason
    assert set(reasons.values()) == set(REASONS) - {"unreadable", "invalid_key"}  # of whole batches, of items
    by_search = next(event for event in shop().events() if event["type"] == "search")
    for kind in POISON_KINDS:
        assert decode_batch([Stored(*poisoned(by_search, kind))]).rejected, kind
