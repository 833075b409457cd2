"""The compiled search for the best k items among 8-bit scores, exact for float32.

The integer scores of a query lie within `slack` of the exact logits. So the k-th best logit is at least the k-th
best score less the slack, and whatever can reach that has a score of at least twice the slack less than the k-th best
one. Of these few the best by score are scored again in float32; the k-th best of their logits is what the others have
to reach, less one slack, to be scored again too. Nothing else can belong to the best k.
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
from model.kernels.compiled import Floats, compiled
from model.kernels.fast_math import fast_exp
from model.kernels.gathered_dot import multiply_by_one

GROUP: Final = 16  # items, about
_CANDIDATES: Final = 512  # of one query, at most; with more of them the plain way is the faster one
_HALVINGS: Final = 10  # of the range in which the k-th best score is looked for
_LANES: Final = 32  # of a walk that keeps something for each
_NOTHING: Final = np.float32(-80)  # of a logarithm of what may be left out
_LOWEST: Final = np.float32(-3e38)
_HIGHEST: Final = np.float32(3e38)


class SearchRequest(NamedTuple):
    """Queries, and what is known of their rough scores."""

    queries: Floats  # (N, D)
    scales: Floats  # (N,): what to multiply a query's scores with
    slack: Floats  # (N,): how far a rough logit can lie from the exact one


class SearchResult(NamedTuple):
    """What was found for queries, best first."""

    items: NDArray[np.int64]  # (N, k)
    log_probabilities: Floats  # (N, k)
    overflowed: NDArray[np.bool_]  # (N,): there were too many candidates, and nothing else here counts


@compiled
def _scan(
    scores: NDArray[np.int32], scales: Floats, query_scale: np.float32, scaled: Floats, maxima: Floats, sums: Floats
) -> None:
    """Fills in the scores (I,) times `scales` (I,), and of each group the highest of them, and the sum of the
    exponentials of the logits."""
    groups = len(maxima)
    maxima[:] = _LOWEST
    sums[:] = np.float32(0)
    for start in range(0, len(scales), groups):
        row, by = scores[start : start + groups], scales[start : start + groups]
        kept = scaled[start : start + groups]
        for j in range(len(by)):
            score = np.float32(row[j]) * by[j]
            kept[j] = score
            maxima[j] = score if score > maxima[j] else maxima[j]
            sums[j] += fast_exp(score * query_scale)


@compiled
def _sum_of_exponentials(logits: Floats) -> np.float32:
    """Added up in a loop of their own, which leaves the one before without a sum to wait for."""
    powers = np.empty(len(logits), np.float32)
    for i in range(len(logits)):
        powers[i] = fast_exp(logits[i])
    total: np.float32 = powers.sum()
    return total


@compiled
def _extremes(values: Floats) -> tuple[np.float32, np.float32]:
    """The lowest and the highest, lane by lane: one after the other takes more time than ten counts."""
    lows, highs = np.full(_LANES, values[0]), np.full(_LANES, values[0])
    whole = len(values) // _LANES * _LANES
    for start in range(0, whole, _LANES):
        row = values[start : start + _LANES]
        for j in range(_LANES):
            lows[j] = row[j] if row[j] < lows[j] else lows[j]
            highs[j] = row[j] if row[j] > highs[j] else highs[j]
    low, high = lows[0], highs[0]
    for j in range(_LANES):
        low, high = min(low, lows[j]), max(high, highs[j])
    for i in range(whole, len(values)):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@compiled
def _reached_by(values: Floats, k: int) -> np.float32:
    """A number that at least k of the values reach, and hardly any more than k; there must be that many."""
    low: np.float32
    high: np.float32
    low, high = _extremes(values)
    rest = _rest(values)
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        if _count(values, rest, middle) >= k:
            low = middle
        else:
            high = middle
    return low


@compiled
def _count(values: Floats, rest: Floats, threshold: np.float32) -> int:
    """How many reach a threshold; `rest` as `_rest` makes it."""
    reached = popcount(mask_ge(rest, 0, threshold))
    for start in range(0, len(values) - WIDTH + 1, WIDTH):
        reached += popcount(mask_ge(values, start, threshold))
    return int(reached)


@compiled
def _rest(values: Floats) -> Floats:
    """The last of the values, fewer than WIDTH of them, and the lowest numbers behind them: as many as a mask has."""
    rest, whole = np.full(WIDTH, _LOWEST), len(values) // WIDTH * WIDTH
    rest[: len(values) - whole] = values[whole:]
    return rest


@compiled
def _reaching(values: Floats, low: np.float32, found: NDArray[np.int32]) -> int:
    """Fills `found` with the places of values that reach `low`, in order; returns how many, or -1: it has no room."""
    count, whole = 0, len(values) // WIDTH * WIDTH
    for start in range(0, whole, WIDTH):
        count = _note(mask_ge(values, start, low), start, found, count)
        if count < 0:
            return -1
    return int(_note(mask_ge(_rest(values), 0, low), whole, found, count))


@compiled
def _between(values: Floats, low: np.float32, high: np.float32, found: NDArray[np.int32], begin: int) -> int:
    """Fills `found` from `begin` on with the places of values that reach `low` but not `high`; returns where they end.
    There must be room."""
    end, whole = begin, len(values) // WIDTH * WIDTH
    for start in range(0, whole, WIDTH):
        end = _note(mask_ge(values, start, low) & ~mask_ge(values, start, high), start, found, end)
    rest = _rest(values)
    return int(_note(mask_ge(rest, 0, low) & ~mask_ge(rest, 0, high), whole, found, end))


@compiled
def _take(candidates: NDArray[np.int32], coarse: Floats, chosen: NDArray[np.int32], kept: Floats) -> None:
    """Puts the candidates themselves where it says which of them are chosen, and their coarse logits beside them."""
    for c in range(len(chosen)):
        kept[c] = coarse[chosen[c]]
        chosen[c] = candidates[chosen[c]]


@compiled
def _note(mask: np.uint64, start: int, found: NDArray[np.int32], count: int) -> int:
    """Adds the places of a mask's bits, counted from `start`; returns how many there are now, or -1: no room."""
    while mask:
        if count == len(found):
            return -1
        found[count] = start + trailing_zeros(mask)
        count += 1
        mask &= mask - np.uint64(1)
    return count


@compiled
def _put_highest(values: Floats, by: np.float32, places: NDArray[np.int64], log_probabilities: Floats) -> None:
    """Puts the places of the highest of the values, less `by`, so many places down as there are higher ones."""
    k, found = len(places), np.empty(len(values), np.int32)
    count = _reaching(values, _reached_by(values, k), found)
    high = np.full(-(-count // WIDTH) * WIDTH, _LOWEST)
    for c in range(count):
        high[c] = values[found[c]]
    log_probabilities[:] = _LOWEST
    for c in range(count):
        place = 0
        for start in range(0, len(high), WIDTH):
            place += popcount(mask_gt(high, start, high[c]))
        while place < k and log_probabilities[place] > _LOWEST:  # an equal one was there first
            place += 1
        if place < k:
            places[place] = found[c]
            log_probabilities[place] = high[c] - by
    if count < k:  # some values are no numbers; then none of these must pass for one
        log_probabilities[:] = np.nan


@compiled
def search(
    scores: NDArray[np.int32], scales: Floats, vectors: Floats, asked: SearchRequest, found: SearchResult, start: int
) -> None:
    """Fills in what is found for as many queries as there are rows of scores, from the query `start` on.

    The first I of the scores (N, I or more) times `scales` (I,) times those of the queries lie within their slack of
    the products with `vectors` (I, D), whose exponentials must be numbers. There must be at least k groups.
    """
    k, size = found.items.shape[1], len(scales)
    groups = -(-size // GROUP)
    scaled, maxima, sums = np.empty(size, np.float32), np.empty(groups, np.float32), np.empty(groups, np.float32)
    candidates, coarse = np.empty(_CANDIDATES, np.int32), np.empty(_CANDIDATES, np.float32)
    chosen, kept = np.empty(_CANDIDATES, np.int32), np.empty(_CANDIDATES, np.float32)
    logits = np.empty(_CANDIDATES, np.float32)
    for row in range(len(scores)):
        n = start + row
        query, scale, slack = asked.queries[n], asked.scales[n], asked.slack[n]
        items, log_probabilities = found.items[n], found.log_probabilities[n]
        _scan(scores[row], scales, scale, scaled, maxima, sums)
        # The k groups with the highest maxima have k items at least as good as the k-th of them.
        sure = _reached_by(maxima, k)
        count = _reaching(scaled, sure - np.float32(2) * slack / scale, candidates)
        found.overflowed[n] = count < 0
        if count < 0:
            continue
        for c in range(count):
            coarse[c] = scaled[candidates[c]] * scale
        first = _between(coarse[:count], sure * scale, _HIGHEST, chosen, 0)
        _take(candidates, coarse, chosen[:first], kept[:first])
        multiply_by_one(vectors, chosen[:first], query, logits[:first])
        least = _reached_by(logits[:first], k) - slack
        last = _between(coarse[:count], least, sure * scale, chosen, first)
        _take(candidates, coarse, chosen[first:last], kept[first:last])
        multiply_by_one(vectors, chosen[first:last], query, logits[first:last])
        total = sums.sum() + _sum_of_exponentials(logits[:last]) - _sum_of_exponentials(kept[:last])
        _put_highest(logits[:last], np.float32(math.log(total)), items, log_probabilities)
        for place in range(k):
            items[place] = chosen[items[place]]


@compiled
def highest(scores: Floats, outside: np.float32, places: NDArray[np.int64], log_probabilities: Floats) -> None:
    """Where the k highest of an answer's scores (C,) lie: fills `places` (k,), of which there are C at most.

    `log_probabilities` (k,) are of a softmax over the scores and `outside`.
    """
    top = max(scores.max(), outside)
    total = math.exp(outside - top) + _sum_of_exponentials(np.maximum(scores - top, _NOTHING))
    _put_highest(scores, top + np.float32(math.log(total)), places, log_probabilities)
