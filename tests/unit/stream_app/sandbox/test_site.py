"""The simulated website: what it adds to a shop's events, and that it takes nothing away."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from typing import Any

import msgspec

from model.data.events import EVENT_TYPES
from stream_app.contract.events import decode_batch
from stream_app.sandbox.assortment import Assortment
from stream_app.sandbox.simulate import Shop, with_duplicates, with_poison
from stream_app.sandbox.site import AnsweredRecords, Site, is_answered
from tests.unit.builders.basics import make_record

START = 1_700_000_000.0
EVENTS = 5000


def site(shop: Shop) -> Site:
    assortment = Assortment(shop.catalogue, random.Random(1), int(1000 * START))
    return Site(shop.catalogue, assortment, random.Random(1))


def published(count: int = EVENTS) -> list[dict[str, Any]]:
    shop = Shop(1, start=START)
    return list(site(shop).records(shop.events(count)))


def plain() -> list[dict[str, Any]]:
    return list(Shop(1, start=START).events(EVENTS))


def test_every_event_of_the_shop_is_there_in_its_order_with_its_item_first() -> None:
    actions = [record for record in published() if record["type"] in EVENT_TYPES]
    for found, event in zip(actions, plain(), strict=True):
        assert (found["event_id"], found["type"]) == (event["event_id"], event["type"])
        first = found["items"][0]["item_id"] if "items" in found else found.get("item_id")
        assert first == event.get("item_id")


def test_the_contract_takes_all_of_it() -> None:
    records = published()
    decoded = decode_batch([make_record(msgspec.json.encode(one), key=one["user_id"].encode()) for one in records])
    kinds = Counter(record["type"] for record in records)
    assert decoded.rejected == []
    assert decoded.lines.count(0) == EVENTS
    assert len(decoded.shown) == kinds["shown"] == kinds["search"] > 0
    assert len(decoded.identities) == kinds["identify"] > 50
    assert kinds["page_view"] > EVENTS / 10


def test_a_purchase_takes_the_whole_cart_of_the_visit() -> None:
    carts: dict[str, Counter[str]] = {}
    sizes = Counter[int]()
    for record, event in zip((one for one in published() if one["type"] in EVENT_TYPES), plain(), strict=True):
        cart = carts.setdefault(record["session_id"], Counter())
        if record["type"] == "cart":
            cart[record["item_id"]] += 1
        elif record["type"] == "remove":
            del cart[record["item_id"]]
        elif record["type"] == "purchase":
            cart[event["item_id"]] = cart[event["item_id"]] or 1
            assert {line["item_id"]: line["quantity"] for line in record["items"]} == +cart
            sizes[len(record["items"])] += 1
            cart.clear()
    assert sizes[1] > sizes[2] > 0


def test_a_visit_that_begins_without_a_login_ends_in_one_before_a_cart() -> None:
    visits: dict[str, list[str]] = {}
    names: dict[str, set[str]] = {}
    for record in published():
        visits.setdefault(record["session_id"], []).append(record["type"])
        names.setdefault(record["session_id"], set()).add(record["user_id"])
        if record["type"] in ("cart", "favorite", "purchase", "identify"):
            assert not record["user_id"].startswith("visitor-")
        if record["type"] == "identify":
            assert record["anonymous_id"] == f"visitor-{record['session_id']}"
    logins = [kinds for kinds in visits.values() if "identify" in kinds]
    assert logins
    assert all(kinds.count("identify") == 1 for kinds in logins)
    assert any(len(users) == 1 and next(iter(users)).startswith("visitor-") for users in names.values())


def test_only_what_is_answered_is_counted() -> None:
    shop, rng = Shop(1, start=START), random.Random(2)
    records = with_poison(with_duplicates(site(shop).records(shop.events()), 0.05, rng), 0.05, rng)
    counted = AnsweredRecords(records, 3000)
    found = list(counted)
    raw = sum(isinstance(one, tuple) for one in found)
    repeats = 3000 - raw - len({one["event_id"] for one in found if isinstance(one, dict) and "event_id" in one})
    assert counted.count == sum(map(is_answered, found)) == 3000 < len(found)
    assert raw > 50
    assert repeats > 50
    assert list(islice(AnsweredRecords(iter(found[:7])), 9)) == found[:7]
