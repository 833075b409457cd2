"""The kernels of the search on a GPU, in Triton, which comes with PyTorch's builds for CUDA.

Tensor cores multiply halves and add up in float32. Of a tile of their scores only each group's highest leaves the
chip, and the sum of the exponentials: a matrix of all scores would take longer to write and read than to compute.
Group g of a block of items holds those at g, g + lanes, g + 2 * lanes and so on, which the registers of one thread hold
in any case.
Shapes: N queries, I items, both padded to whole tiles, D width, G groups, C chosen groups of a query.
"""

from __future__ import annotations

import triton
import triton.language as tl

from model.search import gpu_tiles

_BLOCK = tl.constexpr(gpu_tiles.BLOCK)
_BLOCKS = tl.constexpr(gpu_tiles.BLOCKS)
_LANES = tl.constexpr(gpu_tiles.LANES)
_MEMBERS = tl.constexpr(gpu_tiles.MEMBERS)
_ROWS = tl.constexpr(gpu_tiles.ROWS)
_SCORED = tl.constexpr(gpu_tiles.SCORED)
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def group_maxima(queries, vectors, bounds, maxima, sums, items, width: tl.constexpr):
    """Fills in the groups' highest scores, `maxima` (N, G), and the sums of exp(score - bound) by each program.

    `sums` are (N, I / items of a program). Queries (N, D) and vectors (I, D) are halves, vectors from `items` on are
    padding; `bounds` (N,) are in the unit of scores.
    """
    rows: tl.constexpr = _ROWS if width <= _ROWS else _ROWS // 2  # see `rows_of_a_tile`
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    dims = tl.arange(0, width)
    query = tl.load(queries + row[:, None] * width + dims[None, :])
    bound = tl.load(bounds + row) * _LOG2_E
    total = tl.zeros((rows, _LANES), tl.float32)
    groups = tl.num_programs(1) * _BLOCKS * _LANES
    for step in range(_BLOCKS):
        number = tl.program_id(1) * _BLOCKS + step
        item = number * _BLOCK + tl.arange(0, _BLOCK)
        # Where the block begins may take more than 32 bits, from 16 million items of 128 numbers on.
        first = vectors + number.to(tl.int64) * (_BLOCK * width)
        vector = tl.load(first + tl.arange(0, _BLOCK)[:, None] * width + dims[None, :])
        score = tl.dot(query, tl.trans(vector))
        score = tl.where(item[None, :] < items, score, float("-inf"))
        member = tl.reshape(score, (rows, _MEMBERS, _LANES))
        total += tl.sum(tl.exp2(member * _LOG2_E - bound[:, None, None]), 1)
        group = number * _LANES + tl.arange(0, _LANES)
        tl.store(maxima + row[:, None] * groups + group[None, :], tl.max(member, 1))
    tl.store(sums + row * tl.num_programs(1) + tl.program_id(1), tl.sum(total, 1))


@triton.jit
def member_scores(queries, vectors, chosen, scores, items, groups, width: tl.constexpr):
    """Fills in the scores of the members of each query's chosen groups (N, C): in float32, and as in `group_maxima`.

    Queries (N, D) and vectors (I, D) have no padding; `scores` (2, N, C * members) have the exact and the coarse ones,
    -inf where there is no item.
    """
    up_to_64: tl.constexpr = 16 if width <= 16 else 32 if width <= 32 else 64
    padded: tl.constexpr = up_to_64 if width <= 64 else 128 if width <= 128 else 256  # the next power of two
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * _SCORED + tl.arange(0, _SCORED)
    in_row = column < groups * _MEMBERS
    group = tl.load(chosen + row * groups + column // _MEMBERS, mask=in_row, other=0)
    item = (group // _LANES) * _BLOCK + group % _LANES + (column % _MEMBERS) * _LANES
    dims = tl.arange(0, padded)
    within = dims < width
    query = tl.load(queries + row * width + dims, mask=within, other=0.0)
    known = in_row & (item < items)
    vector = tl.load(vectors + item[:, None] * width + dims[None, :], mask=known[:, None] & within[None, :], other=0.0)
    halves = vector.to(tl.float16).to(tl.float32) * query.to(tl.float16).to(tl.float32)[None, :]
    exact = scores + row * groups * _MEMBERS + column
    coarse = exact + tl.num_programs(0).to(tl.int64) * groups * _MEMBERS
    tl.store(exact, tl.where(known, tl.sum(vector * query[None, :], 1), float("-inf")), mask=in_row)
    tl.store(coarse, tl.where(known, tl.sum(halves, 1), float("-inf")), mask=in_row)
