"""Dot products of rows that lie here and there in a matrix, sixteen at a time.

A loop over the rows would wait for each of them, and then add up the lanes of each sum by itself, which takes as long
as the products. Here several rows are read at the same time, and the lanes of sixteen sums are added up together.
Shapes: R rows, C of them wanted, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from model.kernels.compiled import FAST, Floats, uncounted
from model.kernels.simd import FLOATS, INT, LANES, LONG, Intrinsic, arrays_of, load, store

FOUR: Final = 4  # vectors that each row is multiplied with at once


@uncounted
def dot(a: Floats, b: Floats) -> np.float32:
    """Returns the dot product of two vectors (D,)."""
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


def _products_of(row_count: int, other_count: int) -> Any:
    """Returns an intrinsic that fills in LANES products: of `row_count` rows with `other_count` other vectors.

    It takes rows (R, D), the numbers of the wanted ones (C,), the index of the first of these to read, the others
    (other_count, D) or the only one (D,), and products (C, other_count) or (C,). Nothing has gaps, and LANES divides D.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(
        _: Any, rows: types.Array, wanted: types.Array, start: types.Type, others: types.Array, products: types.Array
    ) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
        ) -> ir.Value:
            rows, wanted, start, others, products = arrays_of(context, builder, signature, arguments)
            numbers = [load(builder, wanted, 0, builder.add(start, LONG(n)), INT) for n in range(row_count)]
            numbers = [builder.sext(number, LONG) for number in numbers]
            sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(LANES)]
            for total in sums:
                builder.store(ir.Constant(FLOATS, None), total)
            steps = builder.sdiv(builder.extract_value(rows.shape, 1), LONG(LANES))
            with cgutils.for_range(builder, steps, intp=LONG) as loop:
                column = builder.mul(loop.index, LONG(LANES))
                right = [load(builder, others, n, column, FLOATS) for n in range(other_count)]
                left = [load(builder, rows, number, column, FLOATS) for number in numbers]
                for i, row in enumerate(left):
                    for j, other in enumerate(right):
                        total, product = sums[other_count * i + j], builder.fmul(row, other, flags=FAST)
                        builder.store(builder.fadd(builder.load(total), product, flags=FAST), total)
            store(builder, _lane_sums(builder, [builder.load(total) for total in sums]), products, start, 0)
            return context.get_dummy_value()

        return types.void(rows, wanted, types.int64, others, products), code

    return multiply


def _lane_sums(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> ir.Value:
    """Returns a vector whose lane n is the sum of all lanes of the n-th of LANES vectors.

    One after the other, each would take four additions in which half of the lanes, a quarter and so on do useful work.
    Here each addition takes two vectors and halves both: the left half of each block of lanes gets the first vector's
    block, its right half added to its left one, and the right half gets the second vector's. With four lanes:

        a0 a1 a2 a3,  b0 b1 b2 b3   ->   a02 a13 b02 b13      (ab; 02 is the sum of lanes 0 and 2)
        ab,           cd            ->   a0123 c0123 b0123 d0123

    After four rounds one of the 16 vectors is left. A round puts the sums of its second vectors behind those of the
    first, so the sums come out in the order of their numbers' bits read backwards, which the vectors are put into
    before. These are the steps of a matrix transposition by halves (Eklundh, "A Fast Computer Method for Matrix
    Transposing", 1972) with an addition in each.
    """
    remaining = [vectors[_bits_reversed(n)] for n in range(LANES)]
    half = LANES // 2
    while half:
        left = [lane for begin in range(0, LANES, 2 * half) for lane in _lanes_of_both(begin, half)]
        right = [lane + half for lane in left]
        remaining = [
            builder.fadd(*(builder.shuffle_vector(*pair, _lane_numbers(lanes)) for lanes in (left, right)), flags=FAST)
            for pair in zip(remaining[::2], remaining[1::2], strict=True)
        ]
        half //= 2
    return remaining[0]


def _lanes_of_both(begin: int, count: int) -> list[int]:
    """Returns the numbers of some lanes of the first of two vectors, then of the same lanes of the second.

    `shufflevector` numbers the lanes of both in one go: those of the second vector from LANES on.
    """
    return [*range(begin, begin + count), *range(LANES + begin, LANES + begin + count)]


def _lane_numbers(lanes: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(INT, LANES), list(lanes))


def _bits_reversed(number: int) -> int:
    """Returns the number below LANES that has the four bits of another in reverse: 0001 becomes 1000."""
    return int(f"{number:04b}"[::-1], 2)


_four_by_four, _sixteen_by_one = _products_of(FOUR, FOUR), _products_of(LANES, 1)


@uncounted
def multiply_by_four(rows: Floats, wanted: NDArray[np.int32], others: Floats, products: Floats) -> None:
    """Fills in the products (C, 4) of the wanted rows, by number (C,), of rows (R, D) with others (4, D).

    Nothing here has gaps.
    """
    count = len(wanted)
    if rows.shape[1] % LANES == 0 and count >= FOUR:
        for start in range(0, count - FOUR, FOUR):
            _four_by_four(rows, wanted, start, others, products)
        _four_by_four(rows, wanted, count - FOUR, others, products)  # perhaps some of them for the second time
    else:
        for c in range(count):
            for j in range(FOUR):
                products[c, j] = dot(rows[wanted[c]], others[j])


@uncounted
def multiply_by_one(rows: Floats, wanted: NDArray[np.int32], other: Floats, products: Floats) -> None:
    """Fills in the products (C,) of the wanted rows, by number (C,), of rows (R, D) with another vector (D,).

    Nothing here has gaps.
    """
    whole = len(wanted) // LANES * LANES if rows.shape[1] % LANES == 0 else 0
    for start in range(0, whole, LANES):
        _sixteen_by_one(rows, wanted, start, other, products)
    for c in range(whole, len(wanted)):
        products[c] = dot(rows[wanted[c]], other)
