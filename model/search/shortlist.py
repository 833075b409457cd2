"""The compiled search for the best k items among coarse scores, exact for float32.

The coarse logits of a query lie within its error bound of the exact ones. So the k-th best logit is at least the k-th
best coarse one less the bound, and whatever can reach that has a coarse logit of at least the k-th best one less twice
the bound: these are the candidates. The best of them by coarse score are scored again in float32; the k-th best of
their logits is what the others have to reach, but for one bound, to be scored again too. Nothing else can belong to the
best k.
Items stand in rows of G groups: item i belongs to group i % G. Walking along a row, each group's running maximum and
sum is a lane of a vector instruction. What is looked for among a few hundred numbers is found by counting, which is
another such walk: sorting them would take several times as long.
Shapes: N queries, I items, D width, k results, G groups, C candidates.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.bitmask import WIDTH, mask_ge, mask_gt, popcount, trailing_zeros
from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.fast_math import fast_exp
from model.kernels.gathered_dot import multiply_by_one

GROUP: Final = 16  # items of a group, about
_CANDIDATES: Final = 512  # of one query, at most; with more of them the plain search is faster
_HALVINGS: Final = 10  # of the range in which the k-th highest value is looked for
_EXTREMES: Final = 32  # lowest and highest values that a walk keeps, one for each lane of two vectors
_NEGLIGIBLE: Final = np.float32(-80)  # a logit, less the highest one, that adds nothing to a sum of exponentials
_LOWEST: Final = np.float32(-3e38)
_HIGHEST: Final = np.float32(3e38)


class SearchRequest(NamedTuple):
    """Queries, and what is known of their coarse scores."""

    queries: Floats  # (N, D)
    scales: Floats  # (N,): what to multiply a query's scores with
    error_bounds: Floats  # (N,): how far a coarse logit can lie from the exact one


class SearchResult(NamedTuple):
    """The best items of queries, best first."""

    items: NDArray[np.int64]  # (N, k)
    log_probabilities: Floats  # (N, k)
    overflowed: NDArray[np.bool_]  # (N,): there were too many candidates, and nothing else here counts


@uncounted
def _scan(
    scores: NDArray[np.int32], scales: Floats, query_scale: np.float32, scaled: Floats, maxima: Floats, sums: Floats
) -> None:
    """Fills in the scores (I,) times `scales` (I,), and for each group their maximum and the sum of exp(logit)."""
    groups = len(maxima)
    maxima[:] = _LOWEST
    sums[:] = np.float32(0)
    for start in range(0, len(scales), groups):
        row, row_scales = scores[start : start + groups], scales[start : start + groups]
        row_scaled = scaled[start : start + groups]
        for j in range(len(row_scales)):
            score = np.float32(row[j]) * row_scales[j]
            row_scaled[j] = score
            maxima[j] = score if score > maxima[j] else maxima[j]
            sums[j] += fast_exp(score * query_scale)


@compiled
def _sum_exp(logits: Floats) -> np.float32:
    """Returns the sum of exp(logit), added up in a loop of its own: the other loop has no sum to wait for."""
    powers = np.empty(len(logits), np.float32)
    for i in range(len(logits)):
        powers[i] = fast_exp(logits[i])
    total: np.float32 = powers.sum()
    return total


@compiled
def _extremes(values: Floats) -> tuple[np.float32, np.float32]:
    """Returns the lowest and the highest value, kept lane by lane: one by one it would take longer than ten counts."""
    lows, highs = np.full(_EXTREMES, values[0]), np.full(_EXTREMES, values[0])
    whole = len(values) // _EXTREMES * _EXTREMES
    for start in range(0, whole, _EXTREMES):
        row = values[start : start + _EXTREMES]
        for j in range(_EXTREMES):
            lows[j] = row[j] if row[j] < lows[j] else lows[j]
            highs[j] = row[j] if row[j] > highs[j] else highs[j]
    low, high = lows[0], highs[0]
    for j in range(_EXTREMES):
        low, high = min(low, lows[j]), max(high, highs[j])
    for i in range(whole, len(values)):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@compiled
def _top_threshold(values: Floats, k: int) -> np.float32:
    """Returns a number that at least k of the values reach, and hardly any more than k; there must be k values."""
    low: np.float32
    high: np.float32
    low, high = _extremes(values)
    tail = _padded_tail(values)
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        if _count_reaching(values, tail, middle) >= k:
            low = middle
        else:
            high = middle
    return low


@uncounted
def _count_reaching(values: Floats, tail: Floats, threshold: np.float32) -> int:
    """Returns how many values reach a threshold; `tail` is their `_padded_tail`."""
    count = popcount(mask_ge(tail, 0, threshold))
    for start in range(0, len(values) - WIDTH + 1, WIDTH):
        count += popcount(mask_ge(values, start, threshold))
    return int(count)


@compiled
def _padded_tail(values: Floats) -> Floats:
    """Returns the values behind the last whole mask, fewer than WIDTH, filled up to WIDTH with the lowest number."""
    tail, whole = np.full(WIDTH, _LOWEST), len(values) // WIDTH * WIDTH
    tail[: len(values) - whole] = values[whole:]
    return tail


@compiled
def _list_reaching(values: Floats, low: np.float32, indices: NDArray[np.int32]) -> int:
    """Fills in the indices of the values that reach `low`, in order; returns how many, or -1 if they do not fit."""
    count, whole = 0, len(values) // WIDTH * WIDTH
    for start in range(0, whole, WIDTH):
        count = _append_bits(mask_ge(values, start, low), start, indices, count)
        if count < 0:
            return -1
    return int(_append_bits(mask_ge(_padded_tail(values), 0, low), whole, indices, count))


@compiled
def _list_between(values: Floats, low: np.float32, high: np.float32, indices: NDArray[np.int32], begin: int) -> int:
    """Fills in, from `begin` on, the indices of the values that reach `low` but not `high`; returns where they end.

    They must fit.
    """
    end, whole = begin, len(values) // WIDTH * WIDTH
    for start in range(0, whole, WIDTH):
        end = _append_bits(mask_ge(values, start, low) & ~mask_ge(values, start, high), start, indices, end)
    tail = _padded_tail(values)
    return int(_append_bits(mask_ge(tail, 0, low) & ~mask_ge(tail, 0, high), whole, indices, end))


@uncounted
def _append_bits(mask: np.uint64, start: int, indices: NDArray[np.int32], count: int) -> int:
    """Appends the numbers of a mask's set bits, counted from `start`, to `count` indices.

    Returns how many indices there are now, or -1 if they do not fit.
    """
    while mask:
        if count == len(indices):
            return -1
        indices[count] = start + trailing_zeros(mask)
        count += 1
        mask &= mask - np.uint64(1)
    return count


@uncounted
def _take_candidates(
    candidates: NDArray[np.int32], logits: Floats, indices: NDArray[np.int32], taken_logits: Floats
) -> None:
    """Replaces indices of candidates by the candidates themselves, and puts their coarse logits beside them."""
    for c in range(len(indices)):
        taken_logits[c] = logits[indices[c]]
        indices[c] = candidates[indices[c]]


@compiled
def _rank(values: Floats, log_total: np.float32, indices: NDArray[np.int64], log_probabilities: Floats) -> None:
    """Fills in the indices (k,) of the highest values, best first, and these less `log_total`.

    A value's rank is the number of higher ones; of equal values the first comes first.
    """
    k, high_indices = len(indices), np.empty(len(values), np.int32)
    count = _list_reaching(values, _top_threshold(values, k), high_indices)
    high = np.full(-(-count // WIDTH) * WIDTH, _LOWEST)
    for c in range(count):
        high[c] = values[high_indices[c]]
    log_probabilities[:] = _LOWEST
    for c in range(count):
        rank = 0
        for start in range(0, len(high), WIDTH):
            rank += popcount(mask_gt(high, start, high[c]))
        while rank < k and log_probabilities[rank] > _LOWEST:  # an equal value is there already
            rank += 1
        if rank < k:
            indices[rank] = high_indices[c]
            log_probability = high[c] - log_total
            # The sum is off by millionths, so what stands alone could come out above 1; NaN stays as it is.
            log_probabilities[rank] = np.float32(0) if log_probability > 0 else log_probability
    if count < k:  # some values are NaN: then none of these must pass for a probability
        log_probabilities[:] = np.nan


@compiled
def search(
    scores: NDArray[np.int32],
    scales: Floats,
    vectors: Floats,
    request: SearchRequest,
    result: SearchResult,
    start: int,
) -> None:
    """Fills in the results of as many queries as there are rows of scores, from the query `start` on.

    The first I of the scores (N, I or more) times `scales` (I,) times those of the queries lie within their error
    bounds of the products with `vectors` (I, D), whose exponentials must be numbers. There must be at least k groups.
    """
    k, size = result.items.shape[1], len(scales)
    groups = -(-size // GROUP)
    scaled, maxima, sums = np.empty(size, np.float32), np.empty(groups, np.float32), np.empty(groups, np.float32)
    candidates, coarse_logits = np.empty(_CANDIDATES, np.int32), np.empty(_CANDIDATES, np.float32)
    rescored, rescored_coarse = np.empty(_CANDIDATES, np.int32), np.empty(_CANDIDATES, np.float32)
    logits = np.empty(_CANDIDATES, np.float32)
    for row in range(len(scores)):
        n = start + row
        query, scale, error_bound = request.queries[n], request.scales[n], request.error_bounds[n]
        items, log_probabilities = result.items[n], result.log_probabilities[n]
        _scan(scores[row], scales, scale, scaled, maxima, sums)
        # The k groups with the highest maxima have k items at least as good as the k-th of them.
        sure = _top_threshold(maxima, k)
        count = _list_reaching(scaled, sure - np.float32(2) * error_bound / scale, candidates)
        result.overflowed[n] = count < 0
        if count < 0:
            continue
        for c in range(count):
            coarse_logits[c] = scaled[candidates[c]] * scale
        first = _list_between(coarse_logits[:count], sure * scale, _HIGHEST, rescored, 0)
        _take_candidates(candidates, coarse_logits, rescored[:first], rescored_coarse[:first])
        multiply_by_one(vectors, rescored[:first], query, logits[:first])
        least = _top_threshold(logits[:first], k) - error_bound
        last = _list_between(coarse_logits[:count], least, sure * scale, rescored, first)
        _take_candidates(candidates, coarse_logits, rescored[first:last], rescored_coarse[first:last])
        multiply_by_one(vectors, rescored[first:last], query, logits[first:last])
        total = sums.sum() + _sum_exp(logits[:last]) - _sum_exp(rescored_coarse[:last])
        _rank(logits[:last], np.float32(math.log(total)), items, log_probabilities)
        for rank in range(k):
            items[rank] = rescored[items[rank]]


@compiled
def rank_highest(scores: Floats, none_logit: np.float32, indices: NDArray[np.int64], log_probabilities: Floats) -> None:
    """Fills in the indices (k,) of the highest of scores (C,), best first; k is C at most.

    `log_probabilities` (k,) are of a softmax over the scores and `none_logit`.
    """
    highest = max(scores.max(), none_logit)
    total = math.exp(none_logit - highest) + _sum_exp(np.maximum(scores - highest, _NEGLIGIBLE))
    _rank(scores, highest + np.float32(math.log(total)), indices, log_probabilities)
