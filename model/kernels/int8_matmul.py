"""Multiplies 8-bit vectors by the instruction that x86 processors have for them (VPDPBUSD of AVX-512 VNNI).

It multiplies 64 pairs of bytes, adds up four products each and adds that to 16 integers. Here the sums of some queries
and some items stay in registers from the first dimension to the last, and the items are laid out once, in the order in
which they are read: libraries do that again for each call, and so need many queries at once, whose scores no longer
fit in the near caches.

The instruction takes one side as unsigned. So items are stored with 128 added, and a sum begins at -128 times the sum
of its query.
Shapes: N queries, I items, D width, T tiles of items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.registry import cpu_target
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from model.kernels.compiled import uncounted
from model.kernels.simd import INT, LANES, LONG, Intrinsic, arrays_of, load, splat, store

_FEATURE: Final = "+avx512vnni"
_VECTORS: Final = 2  # of items in a row of a tile
TILE: Final = LANES * _VECTORS  # items
_MANY: Final = 8  # queries at once: their 16 vectors of sums, and what is multiplied, fit in the 32 registers
_FEW: Final = 4  # queries at once at the end; the last three go one by one, which takes more than twice as long
_TILES_AT_ONCE: Final = 64  # tiles that stay in a near cache from some queries to the next ones
_GROUP: Final = 4  # dimensions that one instruction adds up
_OFFSET: Final = 128  # added to items, to make them unsigned
_SUMS: Final = ir.VectorType(INT, LANES)
_PRODUCTS: Final = ir.VectorType(ir.IntType(8), LANES * _GROUP)
_TYPED_BY_BYTES: Final = 22  # the first version of LLVM in which the instruction's operands are vectors of bytes


def can_multiply(width: int) -> bool:
    """Whether this processor has the instruction, and it divides vectors of this width.

    Leans on: numba files machine code by processor, whose features are the last of these three.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return _FEATURE in features.split(",") and width % _GROUP == 0


def tiles_of(items: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Returns items (I, D) laid out for `multiply`: tiles (T, D / 4, TILE, 4), the last one filled up with zeros."""
    count, width = items.shape
    tiles = -(-count // TILE)
    padded = np.zeros((tiles * TILE, width), np.int16)
    padded[:count] = items
    groups = (padded + _OFFSET).astype(np.uint8).reshape(tiles, TILE, width // _GROUP, _GROUP)
    return np.ascontiguousarray(groups.swapaxes(1, 2))


def _tile_products(queries: int) -> Any:
    """Returns an intrinsic for so many queries, (queries, D), and a tile (D / 4, TILE, 4).

    It adds their products to sums (queries, TILE).
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def add_products(_: Any, tile: types.Array, rows: types.Array, sums: types.Array) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
        ) -> ir.Value:
            tile, rows, sums = arrays_of(context, builder, signature, arguments)
            multiply_add = _vpdpbusd(builder.module)
            vectors = [(row, vector) for row in range(queries) for vector in range(_VECTORS)]
            totals = {where: cgutils.alloca_once(builder, _SUMS) for where in vectors}
            for row, vector in vectors:
                builder.store(load(builder, sums, row, vector * LANES, _SUMS), totals[row, vector])
            with cgutils.for_range(builder, builder.extract_value(tile.shape, 0), intp=LONG) as loop:
                items = [load(builder, tile, loop.index, vector * LANES, _PRODUCTS) for vector in range(_VECTORS)]
                for row in range(queries):
                    query = builder.bitcast(splat(builder, load(builder, rows, row, loop.index, INT), LANES), _PRODUCTS)
                    for vector in range(_VECTORS):
                        total = totals[row, vector]
                        builder.store(multiply_add(builder, builder.load(total), items[vector], query), total)
            for row, vector in vectors:
                store(builder, builder.load(totals[row, vector]), sums, row, vector * LANES)
            return context.get_dummy_value()

        return types.void(tile, rows, sums), code

    return add_products


def _vpdpbusd(module: ir.Module) -> Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]:
    """Returns a function that appends the instruction: sums plus the products of unsigned and of signed bytes."""
    operand = _PRODUCTS if llvmlite.binding.llvm_version_info[0] >= _TYPED_BY_BYTES else _SUMS
    kind = ir.FunctionType(_SUMS, [_SUMS, operand, operand])
    function = cgutils.get_or_insert_function(module, kind, "llvm.x86.avx512.vpdpbusd.512")

    def multiply_add(builder: ir.IRBuilder, sums: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
        return builder.call(function, [sums, builder.bitcast(unsigned, operand), builder.bitcast(signed, operand)])

    return multiply_add


_add_many, _add_few, _add_one = _tile_products(_MANY), _tile_products(_FEW), _tile_products(1)


@uncounted
def multiply(tiles: NDArray[np.uint8], queries: NDArray[np.int8], products: NDArray[np.int32]) -> None:
    """Fills in the products (N, T * TILE) of queries (N, D) with items; the columns from I on are padding."""
    for n in range(len(queries)):
        total = np.int32(0)
        for d in range(queries.shape[1]):
            total += np.int32(queries[n, d])
        products[n] = np.int32(-_OFFSET) * total
    for first in range(0, len(tiles), _TILES_AT_ONCE):
        _add_tiles(tiles[first : first + _TILES_AT_ONCE], queries, products[:, first * TILE :])


@uncounted
def _add_tiles(tiles: NDArray[np.uint8], queries: NDArray[np.int8], sums: NDArray[np.int32]) -> None:
    """Adds the products with these tiles to the first columns of the sums."""
    many, few = len(queries) // _MANY * _MANY, len(queries) // _FEW * _FEW
    for n in range(0, many, _MANY):
        for t in range(len(tiles)):
            _add_many(tiles[t], queries[n : n + _MANY], sums[n : n + _MANY, t * TILE : (t + 1) * TILE])
    for n in range(many, few, _FEW):
        for t in range(len(tiles)):
            _add_few(tiles[t], queries[n : n + _FEW], sums[n : n + _FEW, t * TILE : (t + 1) * TILE])
    for n in range(few, len(queries)):
        for t in range(len(tiles)):
            _add_one(tiles[t], queries[n : n + 1], sums[n : n + 1, t * TILE : (t + 1) * TILE])
