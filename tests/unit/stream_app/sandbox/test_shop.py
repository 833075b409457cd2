"""The simulated shop's catalogue: ladders, lines, price bands, and where shoppers start."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stream_app.errors import SettingsInvalid
from stream_app.sandbox.shop import BANDS, SMALLEST, Course, ShopCatalogue

SIZE = 300


@pytest.fixture
def catalogue() -> ShopCatalogue:
    return ShopCatalogue(random.Random(3), SIZE)


def test_the_same_seed_gives_the_same_items(catalogue: ShopCatalogue) -> None:
    assert ShopCatalogue(random.Random(3), SIZE).items == catalogue.items
    assert ShopCatalogue(random.Random(4), SIZE).items != catalogue.items
    assert len({item.item_id for item in catalogue.items}) == SIZE


def test_ladders_and_lines_hold_every_item_once_from_cheap_to_dear(catalogue: ShopCatalogue) -> None:
    for rows in (catalogue.ladders, catalogue.lines):
        assert sorted(item for row in rows for item in row) == list(range(SIZE))
        for row in rows:
            prices = [catalogue.items[item].price for item in row]
            assert prices == sorted(prices)


@pytest.mark.parametrize("course", [Course(False, 3), Course(True, -4)])
def test_rows_are_rings(catalogue: ShopCatalogue, course: Course) -> None:
    back = Course(course.along_brand, -course.stride)
    for item in range(SIZE):
        assert catalogue.moved(catalogue.moved(item, course), back) == item


def test_price_bands_divide_a_ladder_evenly(catalogue: ShopCatalogue) -> None:
    for ladder in catalogue.ladders:
        bands = [catalogue.band(item) for item in ladder]
        assert bands == sorted(bands)
        assert set(bands) == set(range(BANDS))


def test_the_accessories_of_a_category_are_of_one_category(catalogue: ShopCatalogue) -> None:
    for ladder in catalogue.ladders:
        categories = {catalogue.items[catalogue.accessory(item)].category for item in ladder}
        assert len(categories) == 1


def test_starts_are_of_the_category_and_brand_and_mostly_in_the_band(catalogue: ShopCatalogue) -> None:
    brand = catalogue.items[catalogue.ladders[2][0]].brand
    assert {catalogue.items[item].brand for item in catalogue.starts(2, 0, brand).items} == {brand}
    shares = catalogue.starts(2, 4).shares()
    assert {catalogue.items[item].category for item, _ in shares} == {2}
    assert sum(share for _, share in shares) == pytest.approx(1)
    in_band = sum(share for item, share in shares if catalogue.band(item) == 4)
    elsewhere = sum(share for item, share in catalogue.starts(2, 0).shares() if catalogue.band(item) == 4)
    assert in_band > 2 * elsewhere


def test_items_are_drawn_by_their_weights(catalogue: ShopCatalogue) -> None:
    rng = random.Random(1)
    drawn = Counter(catalogue.popular.draw(rng) for _ in range(20_000))
    for item, share in sorted(catalogue.popular.shares(), key=lambda pair: -pair[1])[:5]:
        assert drawn[item] / 20_000 == pytest.approx(share, rel=0.15)


def test_a_shop_that_is_too_small_is_refused() -> None:
    ShopCatalogue(random.Random(1), SMALLEST)
    with pytest.raises(SettingsInvalid, match=f"at least {SMALLEST}"):
        ShopCatalogue(random.Random(1), SMALLEST - 1)
