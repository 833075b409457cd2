"""Scores all items nearly enough to tell which few of them must be scored exactly, on the CPU.

Coarse scores are products of 8-bit integers, which processors with instructions for it multiply several times faster
than float32, or products of float32 themselves, which differ from exact ones by rounding only.
Shapes: N queries, I items, D width, k results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.gathered_dot import dot
from model.kernels.int8_matmul import TILE, multiply, tiles_of
from model.search.shortlist import GROUP, SearchRequest, SearchResult, search

_ROWS: Final = 64  # queries scored at once: their scores should stay in the processor's caches
_LEVELS: Final = 127  # of an 8-bit integer, on either side of zero
_ROUNDING: Final = 1e-4  # error of float32 sums, relative to the lengths of the vectors; generous
_LARGEST_LOGIT: Final = 80.0  # e to this is still a number
_NO_LENGTH: Final = 1e-30  # of items, so that nothing is divided by zero


class CoarseQueries(NamedTuple):
    """Queries as a kind of coarse scores multiplies them."""

    queries: Tensor  # (N, D), integers or floats
    scales: Tensor  # (N,) as in `SearchRequest`
    error_bounds: Tensor  # (N,) as in `SearchRequest`


class ErrorBound:
    """How far products of rounded queries and items can lie from the exact ones: Cauchy-Schwarz on both residuals."""

    def __init__(self, vectors: Tensor, restored: Tensor) -> None:
        """Takes items (I, D) as they are, and as rounding leaves them."""
        self.longest = _longest(vectors)
        self.per_length = _longest(vectors - restored) + _ROUNDING * self.longest
        self.per_residual = _longest(restored)

    def of(self, lengths: Tensor, residuals: Tensor) -> Tensor:
        """Returns the bounds (N,) of queries with these lengths (N,), which lost residuals of those lengths (N,)."""
        return lengths * self.per_length + residuals * self.per_residual


class CoarseScores(ABC):
    """A kind of coarse scores of the same I items."""

    buffer_type: torch.dtype  # of scores
    columns: int  # of a buffer: I or, with padding behind the scores, some more
    scales: Floats  # (I,): what to multiply an item's scores with

    @abstractmethod
    def is_exact(self) -> bool:
        """Returns whether this processor's products are as exact as the error bounds suppose."""

    @abstractmethod
    def prepare(self, queries: Tensor) -> CoarseQueries:
        """Returns queries (N, D) as they are multiplied."""

    @abstractmethod
    def score(self, queries: Tensor, buffer: Tensor) -> None:
        """Fills a buffer (N, columns) with the scores of `CoarseQueries.queries`."""

    def search(self, queries: Tensor, vectors: Floats, result: SearchResult, buffer: Tensor) -> None:
        """Fills in the best items of queries (N, D), as many at once as the buffer (rows, columns) has rows."""
        coarse = self.prepare(queries)
        request = SearchRequest(queries.numpy(), coarse.scales.numpy(), coarse.error_bounds.numpy())
        for start in range(0, len(queries), len(buffer)):
            rows = coarse.queries[start : start + len(buffer)]
            scores = buffer[: len(rows)]
            self.score(rows, scores)
            search(scores.numpy(), self.scales, vectors, request, result, start)


class Int8Scores(CoarseScores):
    """Items and queries as integers, each with a scale of its own; how they are multiplied depends on the processor."""

    buffer_type = torch.int32

    def __init__(self, vectors: Tensor) -> None:
        rounded = _int8_vectors(vectors)
        self.scales = rounded.scales.numpy()
        self._error_bound = ErrorBound(vectors, rounded.integers * rounded.scales[:, None])
        self._set_items(rounded.integers)

    @abstractmethod
    def _set_items(self, items: Tensor) -> None:
        """Lays out items (I, D) for multiplication."""

    def prepare(self, queries: Tensor) -> CoarseQueries:
        """Returns queries (N, D) rounded to integers."""
        rounded = _int8_vectors(queries)
        error_bounds = self._error_bound.of(rounded.lengths, rounded.residuals)
        return CoarseQueries(rounded.integers, rounded.scales, error_bounds)


class TorchInt8Scores(Int8Scores):
    """Products by PyTorch's matrix product of 8-bit integers.

    Leans on: `torch._int_mm`, which is not public.
    """

    def _set_items(self, items: Tensor) -> None:
        self.columns = len(items)
        self._items = items.T.contiguous()

    def is_exact(self) -> bool:
        """Returns False where PyTorch has no such product, or adds up pairs of products in 16 bits, which overflow."""
        extremes = torch.full((_ROWS, len(self._items)), _LEVELS, dtype=torch.int8)
        try:
            products = torch._int_mm(extremes, extremes.T)
        except (RuntimeError, AttributeError):  # not for this processor, or no longer in PyTorch
            return False
        return bool((products == _LEVELS**2 * len(self._items)).all())

    def score(self, queries: Tensor, buffer: Tensor) -> None:
        """Fills a buffer (N, I) with products of integers."""
        torch._int_mm(queries, self._items, out=buffer)


class VnniInt8Scores(Int8Scores):
    """Products by the processor's own instruction, where `can_multiply` says that it has one."""

    def _set_items(self, items: Tensor) -> None:
        bound = self._error_bound
        factors = np.float32(bound.per_length), np.float32(bound.per_residual)
        self._items = _Int8Items(tiles_of(items.numpy()), self.scales, *factors)
        self.columns = len(self._items.tiles) * TILE

    def is_exact(self) -> bool:
        """Returns True: the instruction adds up in 32 bits."""
        return True

    def score(self, queries: Tensor, buffer: Tensor) -> None:
        """Fills a buffer (N, whole tiles) with products of integers."""
        multiply(self._items.tiles, queries.numpy(), buffer.numpy())

    def search(self, queries: Tensor, vectors: Floats, result: SearchResult, buffer: Tensor) -> None:
        """Fills in the best items in one call: it has nothing to ask the interpreter, which others may hold."""
        _search(self._items, queries.numpy(), vectors, result, buffer.numpy())


class Float32Scores(CoarseScores):
    """Products of items and queries as they are."""

    buffer_type = torch.float32

    def __init__(self, transposed: Tensor) -> None:
        """Takes the item vectors as columns, (D, I)."""
        self._transposed = transposed
        self.columns = transposed.shape[1]
        self.scales = np.ones(transposed.shape[1], np.float32)
        self._longest = float(transposed.norm(dim=0).max())

    def is_exact(self) -> bool:
        """Returns True: any processor multiplies float32 to within rounding."""
        return True

    def prepare(self, queries: Tensor) -> CoarseQueries:
        """Returns the queries (N, D) themselves, with the error of float32 sums."""
        error_bounds = queries.norm(dim=1) * (_ROUNDING * self._longest)
        return CoarseQueries(queries, torch.ones(len(queries)), error_bounds)

    def score(self, queries: Tensor, buffer: Tensor) -> None:
        """Fills a buffer (N, I) with products."""
        torch.mm(queries, self._transposed, out=buffer)


class Shortlists:
    """Ranks items exactly, by way of coarse scores. Not for two threads at once."""

    def __init__(self, vectors: Tensor, scores: CoarseScores) -> None:
        """Takes item vectors (I, D), a row each, and coarse scores of them."""
        self._vectors: Floats = vectors.numpy()
        self._longest = _longest(vectors)
        self.scores = scores
        self._buffer = torch.empty(_ROWS, scores.columns, dtype=scores.buffer_type)

    @property
    def kind(self) -> str:
        """The name of the kind of coarse scores."""
        return type(self.scores).__name__

    def for_another_thread(self) -> Shortlists:
        """Returns shortlists of the same items with a buffer of their own."""
        other = copy(self)
        other._buffer = torch.empty_like(self._buffer)
        return other

    def can_rank(self, queries: Tensor, k: int) -> bool:
        """Returns whether there are enough groups for k, and no logit can leave the range of the exponential."""
        longest = np.float32(_LARGEST_LOGIT / max(self._longest, _NO_LENGTH))  # of a query
        return 0 < k <= len(self._vectors) // GROUP and _all_shorter(queries.contiguous().numpy(), longest)

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns items and log-probabilities (N, k), best first, and which queries (N,) had too many candidates."""
        n = len(queries)
        result = SearchResult(np.zeros((n, k), np.int64), np.empty((n, k), np.float32), np.zeros(n, np.bool_))
        self.scores.search(queries.contiguous(), self._vectors, result, self._buffer)
        items, log_probabilities, overflowed = map(torch.from_numpy, result)
        return items, log_probabilities, overflowed


@uncounted
def _all_shorter(queries: Floats, limit: np.float32) -> bool:
    """Tells whether all of the queries (N, D) are shorter than a limit; one with a NaN is not."""
    shorter = True
    for n in range(len(queries)):
        shorter &= bool(np.sqrt(dot(queries[n], queries[n])) < limit)
    return shorter


class _Int8Items(NamedTuple):
    """Items as `VnniInt8Scores` multiplies them, for the compiled search."""

    tiles: NDArray[np.uint8]
    scales: Floats  # (I,)
    per_length: np.float32  # of `ErrorBound`
    per_residual: np.float32


@compiled
def _search(
    items: _Int8Items, queries: Floats, vectors: Floats, result: SearchResult, buffer: NDArray[np.int32]
) -> None:
    n = len(queries)
    integers, scales = np.empty(queries.shape, np.int8), np.empty(n, np.float32)
    lengths, residuals = np.empty(n, np.float32), np.empty(n, np.float32)
    _round(queries, integers, scales, lengths, residuals)
    request = SearchRequest(queries, scales, lengths * items.per_length + residuals * items.per_residual)
    for start in range(0, n, len(buffer)):
        rows = integers[start : start + len(buffer)]
        scores = buffer[: len(rows)]
        multiply(items.tiles, rows, scores)
        search(scores, items.scales, vectors, request, result, start)


def _longest(vectors: Tensor) -> float:
    return float(vectors.norm(dim=1).max())


class _Int8Vectors(NamedTuple):
    """Vectors (N, D) rounded to 8 bits."""

    integers: Tensor  # (N, D) from -127 to 127
    scales: Tensor  # (N,): what to multiply each with to have it back
    lengths: Tensor  # (N,) of the vectors
    residuals: Tensor  # (N,): lengths of what rounding took from them


def _int8_vectors(vectors: Tensor) -> _Int8Vectors:
    n = len(vectors)
    rounded = _Int8Vectors(torch.empty(vectors.shape, dtype=torch.int8), torch.empty(n), torch.empty(n), torch.empty(n))
    _round(vectors.contiguous().numpy(), *(column.numpy() for column in rounded))
    return rounded


@uncounted
def _round(vectors: Floats, integers: NDArray[np.int8], scales: Floats, lengths: Floats, residuals: Floats) -> None:
    """Fills in `_Int8Vectors`, in one walk along each vector in place of a dozen tensor operations on all of them."""
    for n in range(len(vectors)):
        vector, rounded, largest = vectors[n], integers[n], np.float32(1e-30)
        for d in range(len(vector)):
            largest = max(largest, abs(vector[d]))
        scale = largest / np.float32(_LEVELS)
        length, residual = np.float32(0), np.float32(0)
        for d in range(len(vector)):
            level = np.rint(vector[d] / scale)
            rounded[d] = np.int8(level)
            lost = vector[d] - level * scale
            length += vector[d] * vector[d]
            residual += lost * lost
        scales[n], lengths[n], residuals[n] = scale, np.sqrt(length), np.sqrt(residual)
