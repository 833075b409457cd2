"""Scores of all items that are near enough to the logits to tell which few must be scored exactly, on the CPU.

In 8-bit integers, which processors with instructions for it multiply several times faster than float32, or in float32
itself, whose products differ from exact ones by rounding only.
Shapes: N queries, I items, D width, k results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import shortlist
from model.compiled import compiled
from model.dot_products import DotProducts, can_multiply

_ROWS: Final = 64  # queries scored at once: their scores should stay in the processor's caches
_LEVELS: Final = 127  # of an 8-bit integer, on either side of zero
_ROUNDING: Final = 1e-4  # of float32 sums, relative to the lengths of the vectors; generous
_LARGEST_LOGIT: Final = 80.0  # e to this is still a number


class Rough(NamedTuple):
    """Queries made ready for rough scores."""

    queries: Tensor  # (N, D), of the kind that is multiplied
    scales: Tensor  # (N,): what to multiply a query's scores with
    slack: Tensor  # (N,): how far a rough logit can lie from the exact one


class Slack:
    """How far products of rounded queries and items can lie from the exact ones: Cauchy-Schwarz on both residuals."""

    def __init__(self, vectors: Tensor, restored: Tensor) -> None:
        """Items (I, D) as they are, and as they are multiplied."""
        self.longest = _longest(vectors)
        self._longest_restored = _longest(restored)
        self._residual = _longest(vectors - restored)

    def of(self, lengths: Tensor, residuals: Tensor) -> Tensor:
        """Of queries (N,) of these lengths, which lost residuals of those lengths."""
        return lengths * (self._residual + _ROUNDING * self.longest) + residuals * self._longest_restored


class RoughScores(Protocol):
    """A kind of rough scores of the same I items."""

    room_type: torch.dtype  # of scores
    columns: int  # of a room: I or, behind the scores, some more
    scales: NDArray[np.float32]  # (I,): what to multiply an item's scores with

    def is_exact(self) -> bool:
        """Whether this processor multiplies as the slack supposes."""

    def rough(self, queries: Tensor) -> Rough:
        """Queries (N, D), made ready."""

    def score(self, queries: Tensor, room: Tensor) -> None:
        """Fills a room (N, columns) with the scores of `Rough.queries`."""


class EightBits(ABC):
    """Items and queries as integers, each with a scale of its own; how they are multiplied depends on the processor."""

    room_type = torch.int32
    columns: int

    def __init__(self, vectors: Tensor) -> None:
        rounded = _eight_bits(vectors)
        self.scales = rounded.scales.numpy()
        self._slack = Slack(vectors, rounded.integers * rounded.scales[:, None])
        self._keep(rounded.integers)

    @abstractmethod
    def _keep(self, items: Tensor) -> None:
        """Makes items (I, D) ready to be multiplied with."""

    @abstractmethod
    def is_exact(self) -> bool:
        """As `RoughScores.is_exact`."""

    @abstractmethod
    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""

    def rough(self, queries: Tensor) -> Rough:
        """Queries rounded."""
        rounded = _eight_bits(queries)
        return Rough(rounded.integers, rounded.scales, self._slack.of(rounded.lengths, rounded.residuals))


class EightBitsByLibrary(EightBits):
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


class EightBitsByInstruction(EightBits):
    """By the processor's own instruction, where it has one."""

    def _keep(self, items: Tensor) -> None:
        self._items = DotProducts(items.numpy()) if can_multiply(items.shape[1]) else None
        self.columns = self._items.columns if self._items else len(items)

    def is_exact(self) -> bool:
        """Where there is such an instruction."""
        return self._items is not None

    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""
        assert self._items is not None
        self._items.multiply(queries.numpy(), room.numpy())


class Float32:
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

    def rough(self, queries: Tensor) -> Rough:
        """Queries as they are."""
        slack = queries.norm(dim=1) * (_ROUNDING * self._longest)
        return Rough(queries, torch.ones(len(queries)), slack)

    def score(self, queries: Tensor, room: Tensor) -> None:
        """As `RoughScores.score`."""
        torch.mm(queries, self._transposed, out=room)


class Shortlists:
    """Ranks by rough scores first, exactly. Not for two threads at once."""

    def __init__(self, vectors: Tensor, scores: RoughScores) -> None:
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
        return 0 < k <= len(self._vectors) // shortlist.GROUP and largest < _LARGEST_LOGIT

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Items and log-probabilities (N, k), and which queries had too many candidates (N,)."""
        rough, vectors = self.scores.rough(queries), self._vectors.numpy()
        items, log_probabilities = torch.zeros(len(queries), k, dtype=torch.int64), queries.new_empty(len(queries), k)
        # As arrays: cutting these into blocks takes a tenth of the time that tensors take.
        columns = [
            column.numpy() for column in (rough.scales, rough.slack, queries.contiguous(), items, log_probabilities)
        ]
        gave_up = torch.zeros(len(queries), dtype=torch.bool)
        lost = gave_up.numpy()
        for start in range(0, len(queries), _ROWS):
            part = slice(start, start + _ROWS)
            rows = rough.queries[part]
            room = self._room[: len(rows)]
            self.scores.score(rows, room)
            scores = room.numpy()
            scales, slack, exact, found, chances = (column[part] for column in columns)
            lost[part] = shortlist.search(scores, self.scores.scales, scales, slack, exact, vectors, found, chances)
        return items, log_probabilities, gave_up


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
