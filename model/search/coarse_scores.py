"""Scores of all items that are near enough to the logits to tell which few must be scored exactly, on the CPU.

In 8-bit integers, which processors with instructions for it multiply several times faster than float32, or in float32
itself, whose products differ from exact ones by rounding only.
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

from model.kernels.compiled import compiled
from model.kernels.int8_matmul import TILE, multiply, tiles_of
from model.search.shortlist import GROUP, SearchRequest, SearchResult, search

_ROWS: Final = 64  # queries scored at once: their scores should stay in the processor's caches
_LEVELS: Final = 127  # of an 8-bit integer, on either side of zero
_ROUNDING: Final = 1e-4  # of float32 sums, relative to the lengths of the vectors; generous
_LARGEST_LOGIT: Final = 80.0  # e to this is still a number


class CoarseQueries(NamedTuple):
    """Queries made ready for rough scores."""

    queries: Tensor  # (N, D), of the kind that is multiplied
    scales: Tensor  # (N,) as in `SearchRequest`
    slack: Tensor  # (N,) as in `SearchRequest`


class ErrorBound:
    """How far products of rounded queries and items can lie from the exact ones: Cauchy-Schwarz on both residuals."""

    def __init__(self, vectors: Tensor, restored: Tensor) -> None:
        """Items (I, D) as they are, and as they are multiplied."""
        self.longest = _longest(vectors)
        self._longest_restored = _longest(restored)
        self._residual = _longest(vectors - restored)

    def of(self, lengths: Tensor, residuals: Tensor) -> Tensor:
        """Of queries (N,) of these lengths, which lost residuals of those lengths."""
        return lengths * (self._residual + _ROUNDING * self.longest) + residuals * self._longest_restored


class CoarseScores(ABC):
    """A kind of rough scores of the same I items."""

    room_type: torch.dtype  # of scores
    columns: int  # of a room: I or, behind the scores, some more
    scales: NDArray[np.float32]  # (I,): what to multiply an item's scores with

    @abstractmethod
    def is_exact(self) -> bool:
        """Whether this processor multiplies as the slack supposes."""

    @abstractmethod
    def rough(self, queries: Tensor) -> CoarseQueries:
        """Queries (N, D), made ready."""

    @abstractmethod
    def score(self, queries: Tensor, room: Tensor) -> None:
        """Fills a room (N, columns) with the scores of `Rough.queries`."""

    def search(
        self, rough: Tensor, vectors: NDArray[np.float32], asked: SearchRequest, found: SearchResult, room: Tensor
    ) -> None:
        """Finds the best items for all queries, as many at once as there is room (rows, columns) for."""
        for start in range(0, len(rough), len(room)):
            rows = rough[start : start + len(room)]
            scores = room[: len(rows)]
            self.score(rows, scores)
            search(scores.numpy(), self.scales, vectors, asked, found, start)


class Int8Scores(CoarseScores):
    """Items and queries as integers, each with a scale of its own; how they are multiplied depends on the processor."""

    room_type = torch.int32

    def __init__(self, vectors: Tensor) -> None:
        rounded = _eight_bits(vectors)
        self.scales = rounded.scales.numpy()
        self._slack = ErrorBound(vectors, rounded.integers * rounded.scales[:, None])
        self._keep(rounded.integers)

    @abstractmethod
    def _keep(self, items: Tensor) -> None:
        """Makes items (I, D) ready to be multiplied with."""

    def rough(self, queries: Tensor) -> CoarseQueries:
        """Queries rounded."""
        rounded = _eight_bits(queries)
        return CoarseQueries(rounded.integers, rounded.scales, self._slack.of(rounded.lengths, rounded.residuals))


class TorchInt8Scores(Int8Scores):
    """By PyTorch."""

    def _keep(self, items: Tensor) -> None:
        self.columns = len(items)
        self._items = items.T.contiguous()

    def is_exact(self) -> bool:
        """Some processors add up pairs of products in 16 bits, which overflow; some PyTorch has no such product for."""
        extremes = torch.full((_ROWS, len(self._items)), _LEVELS, dtype=torch.int8)
        try:
            products = torch._int_mm(extremes, extremes.T)
        except (RuntimeError, AttributeError):  # not for this processor, or no longer in PyTorch
            return False
        return bool((products == _LEVELS**2 * len(self._items)).all())

    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""
        torch._int_mm(queries, self._items, out=room)


class VnniInt8Scores(Int8Scores):
    """By the processor's own instruction, where `can_multiply` says so."""

    def _keep(self, items: Tensor) -> None:
        self._tiles = tiles_of(items.numpy())
        self.columns = len(self._tiles) * TILE

    def is_exact(self) -> bool:
        """It is."""
        return True

    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""
        multiply(self._tiles, queries.numpy(), room.numpy())

    def search(
        self, rough: Tensor, vectors: NDArray[np.float32], asked: SearchRequest, found: SearchResult, room: Tensor
    ) -> None:
        """As `RoughScores.search`, without coming back to the interpreter, which others may hold, for each room."""
        _search(self._tiles, rough.numpy(), self.scales, vectors, asked, found, room.numpy())


class Float32Scores(CoarseScores):
    """Items and queries as they are."""

    room_type = torch.float32

    def __init__(self, transposed: Tensor) -> None:
        """Vectors as columns, (D, I)."""
        self._transposed = transposed
        self.columns = transposed.shape[1]
        self.scales = np.ones(transposed.shape[1], np.float32)
        self._longest = float(transposed.norm(dim=0).max())

    def is_exact(self) -> bool:
        """Any processor does."""
        return True

    def rough(self, queries: Tensor) -> CoarseQueries:
        """Queries as they are."""
        slack = queries.norm(dim=1) * (_ROUNDING * self._longest)
        return CoarseQueries(queries, torch.ones(len(queries)), slack)

    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""
        torch.mm(queries, self._transposed, out=room)


class Shortlists:
    """Ranks by rough scores first, exactly. Not for two threads at once."""

    def __init__(self, vectors: Tensor, scores: CoarseScores) -> None:
        """`vectors` (I, D), a row each, those that `scores` are of."""
        self._vectors = vectors
        self._longest = _longest(vectors)
        self.scores = scores
        self._room = torch.empty(_ROWS, scores.columns, dtype=scores.room_type)

    @property
    def kind(self) -> str:
        """The name of its rough scores."""
        return type(self.scores).__name__

    def for_another_thread(self) -> Shortlists:
        """The same items, with room of its own."""
        other = copy(self)
        other._room = torch.empty_like(self._room)
        return other

    def can_rank(self, queries: Tensor, k: int) -> bool:
        """Whether there are groups enough, and no logit can leave the range of the exponential."""
        largest = float(queries.norm(dim=1).max()) * self._longest if len(queries) else 0.0
        return 0 < k <= len(self._vectors) // GROUP and largest < _LARGEST_LOGIT

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Items and log-probabilities (N, k), and which queries had too many candidates (N,)."""
        n, rough = len(queries), self.scores.rough(queries)
        items, log_probabilities = torch.zeros(n, k, dtype=torch.int64), queries.new_empty(n, k)
        overflowed = torch.zeros(n, dtype=torch.bool)
        asked = SearchRequest(queries.contiguous().numpy(), rough.scales.numpy(), rough.slack.numpy())
        found = SearchResult(items.numpy(), log_probabilities.numpy(), overflowed.numpy())
        self.scores.search(rough.queries, self._vectors.numpy(), asked, found, self._room)
        return items, log_probabilities, overflowed


@compiled
def _search(
    tiles: NDArray[np.uint8],
    rounded: NDArray[np.int8],
    scales: NDArray[np.float32],
    vectors: NDArray[np.float32],
    asked: SearchRequest,
    found: SearchResult,
    room: NDArray[np.int32],
) -> None:
    for start in range(0, len(rounded), len(room)):
        rows = rounded[start : start + len(room)]
        scores = room[: len(rows)]
        multiply(tiles, rows, scores)
        search(scores, scales, vectors, asked, found, start)


def _longest(vectors: Tensor) -> float:
    return float(vectors.norm(dim=1).max())


class _Rounded(NamedTuple):
    """Vectors (N, D) in 8 bits."""

    integers: Tensor  # (N, D) from -127 to 127
    scales: Tensor  # (N,): what to multiply each with to have it back
    lengths: Tensor  # (N,) of the vectors
    residuals: Tensor  # (N,): lengths of what rounding took from them


def _eight_bits(vectors: Tensor) -> _Rounded:
    n = len(vectors)
    found = _Rounded(torch.empty(vectors.shape, dtype=torch.int8), torch.empty(n), torch.empty(n), torch.empty(n))
    _round(vectors.contiguous().numpy(), *(column.numpy() for column in found))
    return found


@compiled
def _round(
    vectors: NDArray[np.float32],
    integers: NDArray[np.int8],
    scales: NDArray[np.float32],
    lengths: NDArray[np.float32],
    residuals: NDArray[np.float32],
) -> None:
    """Fills in `_Rounded`. One walk along each vector in place of a dozen tensor operations on all of them."""
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
