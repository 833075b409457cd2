"""Products of some vectors that lie here and there, all at once.

A loop that takes one vector after the other waits for each, and adds up the lanes of each sum by itself, which takes as
long as the products. Here several come at the same time, and sixteen sums are added up together: two of them are folded
into the halves of one, two of those into the quarters of one, and so on.
Shapes: R rows, C of them chosen, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from model.kernels.compiled import compiled

Floats = NDArray[np.float32]

FOUR: Final = 4
_LANES: Final = 16
_BYTES: Final = 4  # of a float32
_INT: Final = ir.IntType(32)
_LONG: Final = ir.IntType(64)
_VECTOR: Final = ir.VectorType(ir.FloatType(), _LANES)
_MASK: Final = ir.VectorType(_INT, _LANES)
_FAST: Final = ("contract", "reassoc")


@compiled
def dot(a: Floats, b: Floats) -> np.float32:
    """The product of two vectors (D,)."""
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


def _products_of(at_once: int, others: int) -> Any:
    """Sixteen products, of so many rows with so many others: an intrinsic for rows (R, D), which of them are chosen
    (C,), where among these to start, the others (or the only one), and products (C, others). D is a multiple of 16."""

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(
        _: Any, rows: Any, chosen: Any, start: Any, right: Any, products: Any
    ) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            rows, chosen, right, products = (
                context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 1, 3, 4)
            )
            start, width = arguments[2], builder.extract_value(rows.shape, 1)

            def beginning(array: Any, row: Any) -> Any:
                return builder.gep(array.data, [builder.mul(row, width)])

            def vector(begin: Any, at: Any) -> Any:
                return builder.load(builder.bitcast(builder.gep(begin, [at]), _VECTOR.as_pointer()), align=_BYTES)

            places = [builder.gep(chosen.data, [builder.add(start, _LONG(n))]) for n in range(at_once)]
            begins = [beginning(rows, builder.sext(builder.load(place), _LONG)) for place in places]
            others_begin = [beginning(right, _LONG(n)) for n in range(others)]
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_LANES)]
            for total in sums:
                builder.store(ir.Constant(_VECTOR, None), total)
            with cgutils.for_range(builder, builder.sdiv(width, _LONG(_LANES)), intp=_LONG) as loop:
                at = builder.mul(loop.index, _LONG(_LANES))
                others_here = [vector(begin, at) for begin in others_begin]
                for i, row in enumerate([vector(begin, at) for begin in begins]):
                    for j, other in enumerate(others_here):
                        total, product = sums[others * i + j], builder.fmul(row, other, flags=_FAST)
                        builder.store(builder.fadd(builder.load(total), product, flags=_FAST), total)
            added = _added_up(builder, [builder.load(total) for total in sums])
            target = builder.gep(products.data, [builder.mul(_LONG(others), start)])
            builder.store(added, builder.bitcast(target, _VECTOR.as_pointer()), align=_BYTES)
            return context.get_dummy_value()

        return types.void(rows, chosen, types.int64, right, products), code

    return multiply


def _added_up(builder: Any, sums: Sequence[Any]) -> Any:
    """The lanes of each of 16 vectors added up: the vector of these 16 sums."""
    folded = [sums[_reversed(n)] for n in range(_LANES)]
    width = _LANES // 2
    while width:
        low = [lane for begin in range(0, _LANES, 2 * width) for lane in _both(begin, width)]
        high = [lane + width for lane in low]
        pairs = zip(folded[::2], folded[1::2], strict=True)
        folded = [
            builder.fadd(*(builder.shuffle_vector(*pair, _mask(lanes)) for lanes in (low, high)), flags=_FAST)
            for pair in pairs
        ]
        width //= 2
    return folded[0]


def _both(begin: int, width: int) -> list[int]:
    """Some lanes of the first of two vectors, then the same of the second."""
    return [*range(begin, begin + width), *range(_LANES + begin, _LANES + begin + width)]


def _mask(lanes: Sequence[int]) -> Any:
    return ir.Constant(_MASK, list(lanes))


def _reversed(number: int) -> int:
    """Four bits in the other order: where a sum has to stand for its place in the end."""
    return int(f"{number:04b}"[::-1], 2)


_four_by_four, _sixteen_by_one = _products_of(FOUR, FOUR), _products_of(_LANES, 1)


@compiled
def multiply_by_four(rows: Floats, chosen: NDArray[np.int32], others: Floats, products: Floats) -> None:
    """Fills in the products (C, 4) of the chosen (C,) of rows (R, D) with others (4, D), all without gaps."""
    count = len(chosen)
    if rows.shape[1] % _LANES == 0 and count >= FOUR:
        for start in range(0, count - FOUR, FOUR):
            _four_by_four(rows, chosen, start, others, products)
        _four_by_four(rows, chosen, count - FOUR, others, products)  # some of them once more, perhaps
    else:
        for c in range(count):
            for j in range(FOUR):
                products[c, j] = dot(rows[chosen[c]], others[j])


@compiled
def multiply_by_one(rows: Floats, chosen: NDArray[np.int32], other: Floats, products: Floats) -> None:
    """Fills in the products (C,) of the chosen (C,) of rows (R, D) with another (D,), all without gaps."""
    whole = len(chosen) // _LANES * _LANES if rows.shape[1] % _LANES == 0 else 0
    for start in range(0, whole, _LANES):
        _sixteen_by_one(rows, chosen, start, other, products)
    for c in range(whole, len(chosen)):
        products[c] = dot(rows[chosen[c]], other)
