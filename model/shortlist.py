"""The compiled search for the best k items among 8-bit scores, exact for float32.

The integer scores of a query lie within `slack` of the exact logits. So the k-th best logit is at least the k-th
best score less the slack, and whatever can reach that has a score of at least twice the slack less than the k-th best
one: these few are scored again in float32. Nothing outside them can belong to the best k.
Items stand in rows of G groups: item i belongs to group i % G. Walking along a row, each group's running maximum and
sum is a lane of a vector instruction.
Shapes: N queries, I items, D width, k results, G groups.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.compiled import compiled

GROUP: Final = 32  # items, about
_CANDIDATES: Final = 512  # of one query, at most; with more of them the plain way is the faster one
_LOWEST: Final = np.float32(-3e38)

Floats = NDArray[np.float32]


@compiled
def _scan(scores: NDArray[np.int32], scales: Floats, query_scale: np.float32, maxima: Floats, sums: Floats) -> None:
    """Of each group: the highest of the scores (I,) times `scales` (I,), and the sum of the exponentials of the logits.

    exp(x) = (1 + y + y^2 / 2 + y^3 / 6)^1024 with y = x / 1024: multiplications only, no table and no branch.
    """
    groups = len(maxima)
    maxima[:] = _LOWEST
    sums[:] = np.float32(0)
    step = query_scale / np.float32(1024)
    for start in range(0, len(scales), groups):
        row, by = scores[start : start + groups], scales[start : start + groups]
        for j in range(len(by)):
            scaled = np.float32(row[j]) * by[j]
            maxima[j] = scaled if scaled > maxima[j] else maxima[j]
            y = scaled * step
            power = np.float32(1) + y * (np.float32(1) + y * (np.float32(1 / 2) + y * np.float32(1 / 6)))
            for _ in range(10):
                power *= power
            sums[j] += power


@compiled
def _dot(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@compiled
def _insert(best: Floats, items: NDArray[np.int64], logit: np.float32, item: int) -> None:
    """Puts an item where it belongs among the best, which fall; of equal ones the first stays first."""
    place = len(best) - 1
    if logit <= best[place]:
        return
    while place > 0 and best[place - 1] < logit:
        best[place] = best[place - 1]
        items[place] = items[place - 1]
        place -= 1
    best[place] = logit
    items[place] = item


@compiled
def _kth(values: Floats, best: Floats) -> np.float32:
    """The k-th highest value; `best` (k,) is room for those above it."""
    best[:] = _LOWEST
    for value in values:
        place = len(best) - 1
        if value > best[place]:
            while place > 0 and best[place - 1] < value:
                best[place] = best[place - 1]
                place -= 1
            best[place] = value
    kth: np.float32 = best[-1]
    return kth


@compiled
def _candidates(
    scores: NDArray[np.int32], scales: Floats, maxima: Floats, threshold: np.float32, found: NDArray[np.int64]
) -> int:
    """Fills `found` with the items whose scaled scores reach a threshold; returns how many, at most its length."""
    groups, count = len(maxima), 0
    for group in range(groups):
        if maxima[group] < threshold:
            continue
        for item in range(group, len(scales), groups):
            if np.float32(scores[item]) * scales[item] >= threshold and count < len(found):
                found[count] = item
                count += 1
    return count


@compiled
def search(
    scores: NDArray[np.int32],
    scales: Floats,
    query_scales: Floats,
    slack: Floats,
    queries: Floats,
    vectors: Floats,
    items: NDArray[np.int64],
    log_probabilities: Floats,
) -> NDArray[np.bool_]:
    """Fills `items` and `log_probabilities`, (N, k) each, best first; returns which queries it gave up, (N,).

    `scores` (N, I) times `scales` (I,) times `query_scales` (N,) lie within `slack` (N,) of the products of `queries`
    (N, D) and `vectors` (I, D), whose exponentials must be numbers. There must be at least k groups.
    """
    k, size = items.shape[1], len(scales)
    groups = -(-size // GROUP)
    maxima, sums, best = np.empty(groups, np.float32), np.empty(groups, np.float32), np.empty(k, np.float32)
    found, logits = np.empty(_CANDIDATES, np.int64), np.empty(_CANDIDATES, np.float32)
    gave_up = np.zeros(len(queries), np.bool_)
    for n in range(len(queries)):
        _scan(scores[n], scales, query_scales[n], maxima, sums)
        # The k groups with the highest maxima have k items at least as good as the k-th of them.
        threshold = _kth(maxima, best) - np.float32(2) * slack[n] / query_scales[n]
        count = _candidates(scores[n], scales, maxima, threshold, found)
        gave_up[n] = count == _CANDIDATES
        for c in range(count):
            logits[c] = _dot(queries[n], vectors[found[c]])
        total = sums.sum()
        log_probabilities[n] = _LOWEST
        for c in range(count):
            scaled = np.float32(scores[n, found[c]]) * scales[found[c]]
            total += math.exp(logits[c]) - math.exp(scaled * query_scales[n])
            _insert(log_probabilities[n], items[n], logits[c], found[c])
        log_probabilities[n] -= np.float32(math.log(total))
    return gave_up
