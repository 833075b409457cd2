"""Products of 8-bit vectors by the instruction that x86 processors have for them (VPDPBUSD of AVX-512 VNNI).

It multiplies 64 pairs of bytes, adds up four products each and adds that to 16 integers. Here the sums of some queries
and some items stay in registers from the first dimension to the last, and the items are laid out in the order in which
they are read, once: libraries do that again for each call, and so need many queries at once, whose scores no longer
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
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.kernels.simd import arrays_of, element, splat

_FEATURE: Final = "+avx512vnni"
_LANES: Final = 16  # items of a vector
_VECTORS: Final = 2  # of a tile
TILE: Final = _LANES * _VECTORS  # items
_QUERIES: Final = 8  # at a time: 16 vectors of sums and what is multiplied fit in the 32 registers
_FEWER: Final = 4  # of the last ones, then each by itself, which takes more than twice as long
_NEAR: Final = 64  # tiles that stay in a near cache from some queries to the next ones
_GROUP: Final = 4  # dimensions that one instruction adds up
_OFFSET: Final = 128
_BYTES: Final = 4  # of an integer
_INT: Final = ir.IntType(32)
_LONG: Final = ir.IntType(64)
_SUMS: Final = ir.VectorType(_INT, _LANES)
_PRODUCTS: Final = ir.VectorType(ir.IntType(8), _LANES * _GROUP)
_TYPED_BY_BYTES: Final = 22  # the version of LLVM from which on the instruction's operands are vectors of bytes


def can_multiply(width: int) -> bool:
    """Whether there is such an instruction for vectors of this width here.

    Leans on: numba keeps what it compiled by processor, whose features are the last of these three.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return _FEATURE in features.split(",") and width % _GROUP == 0


def tiles_of(items: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Items (I, D), laid out to be multiplied with: tiles (T, D / 4, TILE, 4), the last one filled up with zeros."""
    count, width = items.shape
    tiles = -(-count // TILE)
    padded = np.zeros((tiles * TILE, width), np.int16)
    padded[:count] = items
    groups = (padded + _OFFSET).astype(np.uint8).reshape(tiles, TILE, width // _GROUP, _GROUP)
    return np.ascontiguousarray(groups.swapaxes(1, 2))


def _tile_of(queries: int) -> Any:
    """Adds to sums (queries, TILE) the products of so many queries (queries, D) and a tile (D / 4, TILE, 4)."""

    @intrinsic  # type: ignore[untyped-decorator]
    def add_products(_: Any, tile: Any, rows: Any, sums: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            tile, rows, sums = arrays_of(context, builder, signature, arguments)
            multiply = _instruction(builder.module)

            def load(address: Any) -> Any:
                return builder.load(address, align=_BYTES)

            places = [
                (row, vector, element(builder, sums, row, vector * _LANES, _SUMS))
                for row in range(queries)
                for vector in range(_VECTORS)
            ]
            kept = {(row, vector): cgutils.alloca_once(builder, _SUMS) for row, vector, _ in places}
            for row, vector, address in places:
                builder.store(load(address), kept[row, vector])
            groups = builder.extract_value(tile.shape, 0)
            with cgutils.for_range(builder, groups, intp=_LONG) as loop:
                items = [
                    load(element(builder, tile, loop.index, vector * _LANES, _PRODUCTS)) for vector in range(_VECTORS)
                ]
                for row in range(queries):
                    four = load(element(builder, rows, row, loop.index, _INT))
                    query = builder.bitcast(splat(builder, four, _LANES), _PRODUCTS)
                    for vector in range(_VECTORS):
                        total = kept[row, vector]
                        builder.store(multiply(builder, builder.load(total), items[vector], query), total)
            for row, vector, address in places:
                builder.store(builder.load(kept[row, vector]), address, align=_BYTES)
            return context.get_dummy_value()

        return types.void(tile, rows, sums), code

    return add_products


def _instruction(module: Any) -> Callable[[Any, Any, Any, Any], Any]:
    """Adds to sums the products of unsigned and signed bytes."""
    operand = _PRODUCTS if llvmlite.binding.llvm_version_info[0] >= _TYPED_BY_BYTES else _SUMS
    kind = ir.FunctionType(_SUMS, [_SUMS, operand, operand])
    function = cgutils.get_or_insert_function(module, kind, "llvm.x86.avx512.vpdpbusd.512")

    def call(builder: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
        return builder.call(function, [sums, builder.bitcast(unsigned, operand), builder.bitcast(signed, operand)])

    return call


_eight, _four, _one = _tile_of(_QUERIES), _tile_of(_FEWER), _tile_of(1)


@compiled
def multiply(tiles: NDArray[np.uint8], queries: NDArray[np.int8], room: NDArray[np.int32]) -> None:
    """Fills in the products (N, T * TILE), the first I of which are the items', of queries (N, D)."""
    for n in range(len(queries)):
        total = np.int32(0)
        for d in range(queries.shape[1]):
            total += np.int32(queries[n, d])
        room[n] = np.int32(-_OFFSET) * total
    for first in range(0, len(tiles), _NEAR):
        _multiply_tiles(tiles[first : first + _NEAR], queries, room[:, first * TILE :])


@compiled
def _multiply_tiles(tiles: NDArray[np.uint8], queries: NDArray[np.int8], sums: NDArray[np.int32]) -> None:
    """Adds products with these tiles to the first of the sums."""
    fewer, single = len(queries) // _QUERIES * _QUERIES, len(queries) // _FEWER * _FEWER
    for n in range(0, fewer, _QUERIES):
        for t in range(len(tiles)):
            _eight(tiles[t], queries[n : n + _QUERIES], sums[n : n + _QUERIES, t * TILE : (t + 1) * TILE])
    for n in range(fewer, single, _FEWER):
        for t in range(len(tiles)):
            _four(tiles[t], queries[n : n + _FEWER], sums[n : n + _FEWER, t * TILE : (t + 1) * TILE])
    for n in range(single, len(queries)):
        for t in range(len(tiles)):
            _one(tiles[t], queries[n : n + 1], sums[n : n + 1, t * TILE : (t + 1) * TILE])
