"""Products of 8-bit vectors: NumPy's product of whole numbers is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from model.kernels.int8_matmul import TILE, can_multiply, multiply, tiles_of
from tests.skips import NO_INSTRUCTION

pytestmark = pytest.mark.skipif(not can_multiply(4), reason=NO_INSTRUCTION)


@pytest.mark.parametrize("queries", [0, 1, 3, 4, 7, 8, 11, 12, 15, 64])
@pytest.mark.parametrize("items", [1, 31, 32, 33, 2048, 2100])
@pytest.mark.parametrize("width", [4, 64, 128])
def test_multiplies_whole_numbers(queries: int, items: int, width: int) -> None:
    rng = np.random.default_rng(items)
    of_items = rng.integers(-127, 128, (items, width)).astype(np.int8)
    of_queries = rng.integers(-127, 128, (queries, width)).astype(np.int8)
    tiles = tiles_of(of_items)
    products = np.full((queries, len(tiles) * TILE), 7, np.int32)
    multiply(tiles, of_queries, products)
    np.testing.assert_array_equal(products[:, :items], of_queries.astype(np.int64) @ of_items.astype(np.int64).T)


@pytest.mark.parametrize(("item", "query"), [(127, 127), (-127, 127), (127, -127), (-127, -127)])
def test_the_largest_products_do_not_overflow(item: int, query: int) -> None:
    width = 512
    products = np.empty((8, TILE), np.int32)
    multiply(tiles_of(np.full((TILE, width), item, np.int8)), np.full((8, width), query, np.int8), products)
    assert (products == item * query * width).all()


def test_the_products_of_other_queries_are_left_alone() -> None:
    products = np.full((9, 2 * TILE), 7, np.int32)
    multiply(tiles_of(np.ones((TILE + 8, 8), np.int8)), np.ones((8, 8), np.int8), products[:8])
    assert (products[8] == 7).all()


def test_cannot_multiply_widths_that_the_instruction_does_not_divide() -> None:
    assert not can_multiply(10)
