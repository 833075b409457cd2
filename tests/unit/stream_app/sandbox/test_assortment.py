"""The simulated assortment: records that the contract takes, prices that change, stock that runs out and comes back."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

from stream_app.contract.items import decode_item
from stream_app.sandbox.assortment import OTHER_MARKET, Assortment
from stream_app.sandbox.shop import ShopCatalogue

NOW_MS = 1_700_000_000_000
CATALOGUE = ShopCatalogue(random.Random(1), 500)


def assortment(seed: int = 1) -> Assortment:
    return Assortment(CATALOGUE, random.Random(seed), NOW_MS)


def fields(record: tuple[bytes | None, bytes | None]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record[1] or b"")
    return found


def test_every_item_has_a_record_that_the_contract_takes() -> None:
    records = list(assortment().records())
    assert {(key or b"").decode() for key, _ in records} == {item.item_id for item in CATALOGUE.items}
    for key, value in records:
        decode_item(key, value)
    assert records == list(assortment().records())
    titles = [fields(record)["title"] for record in records]
    assert len(set(titles)) == len(titles)


def test_some_items_are_variants_of_one_product() -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in assortment().records():
        if group := fields(record).get("group"):
            groups.setdefault(group, []).append(fields(record))
    assert len(groups) > 20
    pairs = [variants for variants in groups.values() if len(variants) == 2]
    assert len(pairs) > len(groups) / 2
    for one, other in pairs:
        assert one["attributes"]["colour"] != other["attributes"]["colour"]


def test_sales_take_units_until_a_delivery_and_prices_change() -> None:
    shop, before = assortment(), {key: fields((key, value)) for key, value in assortment().records()}
    names, rng = [item.item_id for item in CATALOGUE.items[:10]], random.Random(3)
    stocks: dict[str, list[int]] = {name: [before[name.encode()]["stock"]] for name in names}
    for _ in range(3000):
        shop.sell(rng.choice(names), 1)
        for key, value in shop.changed():
            name = (key or b"").decode()
            if name in stocks:
                stocks[name].append(fields((key, value))["stock"])
    assert shop.changed() == []
    for stock in stocks.values():
        assert min(stock) == 0
        assert any(later > earlier for earlier, later in pairwise(stock))
    after = {key: fields((key, value)) for key, value in shop.records()}
    assert any(after[key]["price"] != before[key]["price"] for key in before)


def test_the_other_market_has_prices_of_its_own() -> None:
    shop = assortment()
    for item in CATALOGUE.items[:5]:
        (price, currency), (other, other_currency) = (
            shop.offer(item.item_id, None),
            shop.offer(item.item_id, OTHER_MARKET),
        )
        assert (currency, other_currency) == ("EUR", "CHF")
        assert other > price
