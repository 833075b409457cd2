"""What a GPU runs of the search for the best items, in Triton, which comes with PyTorch's builds for CUDA.

Tensor cores multiply halves and add up in float32. Of a tile of their scores only each group's highest leaves the
chip, and the sum of the exponentials: a matrix of all scores would take longer to write and read than to compute.
Group g of a block of items holds those at g, g + lanes, g + 2 * lanes and so on, which the registers of one thread hold
in any case.
Shapes: N queries, I items, both padded to whole tiles, D width, G groups, C chosen groups of a query.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def group_maxima(
    queries,
    vectors,
    bounds,
    maxima,
    sums,
    items,
    width: tl.constexpr,
    rows: tl.constexpr,
    block: tl.constexpr,
    lanes: tl.constexpr,
    blocks: tl.constexpr,
):
    """Of queries (N, D) and vectors (I, D), halves: `maxima` (N, G) and `sums` (N, I / items of a program).

    `sums` are of exp(score - bound), `bounds` (N,) in the same unit; vectors from `items` on are padding.
    """
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    dims = tl.arange(0, width)
    query = tl.load(queries + row[:, None] * width + dims[None, :])
    bound = tl.load(bounds + row) * 1.4426950408889634
    total = tl.zeros((rows, lanes), tl.float32)
    groups = tl.num_programs(1) * blocks * lanes
    for step in range(blocks):
        number = tl.program_id(1) * blocks + step
        item = number * block + tl.arange(0, block)
        # Where the block begins may take more than 32 bits, from 16 million items of 128 numbers on.
        first = vectors + number.to(tl.int64) * (block * width)
        vector = tl.load(first + tl.arange(0, block)[:, None] * width + dims[None, :])
        score = tl.dot(query, tl.trans(vector))
        score = tl.where(item[None, :] < items, score, float("-inf"))
        member = tl.reshape(score, (rows, block // lanes, lanes))
        total += tl.sum(tl.exp2(member * 1.4426950408889634 - bound[:, None, None]), 1)
        group = number * lanes + tl.arange(0, lanes)
        tl.store(maxima + row[:, None] * groups + group[None, :], tl.max(member, 1))
    tl.store(sums + row * tl.num_programs(1) + tl.program_id(1), tl.sum(total, 1))


@triton.jit
def member_scores(
    queries,
    vectors,
    chosen,
    exact,
    rough,
    items,
    groups,
    width,
    padded: tl.constexpr,
    block: tl.constexpr,
    lanes: tl.constexpr,
    scored: tl.constexpr,
):
    """Of queries (N, D) and the members of their chosen groups (N, C): scores in float32, and as in `group_maxima`.

    `vectors` (I, D) are without padding; `exact` and `rough` (N, C * members) have -inf where there is no item.
    """
    members: tl.constexpr = block // lanes
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * scored + tl.arange(0, scored)
    there = place < groups * members
    group = tl.load(chosen + row * groups + place // members, mask=there, other=0)
    item = (group // lanes) * block + group % lanes + (place % members) * lanes
    dims = tl.arange(0, padded)
    within = dims < width
    query = tl.load(queries + row * width + dims, mask=within, other=0.0)
    known = there & (item < items)
    vector = tl.load(vectors + item[:, None] * width + dims[None, :], mask=known[:, None] & within[None, :], other=0.0)
    halves = vector.to(tl.float16).to(tl.float32) * query.to(tl.float16).to(tl.float32)[None, :]
    out = row * groups * members + place
    tl.store(exact + out, tl.where(known, tl.sum(vector * query[None, :], 1), float("-inf")), mask=there)
    tl.store(rough + out, tl.where(known, tl.sum(halves, 1), float("-inf")), mask=there)
