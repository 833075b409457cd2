"""How a version weighs what is counted of a user, and what it expects of them: a part of its profile.

Shapes: K kinds of actions, C classes of a field (frequent categories or brands, by bucket), D width of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from model.data.events import MOST_NAMES
from model.profile.counting import BANDS, BUCKETS, ENTRIES, KINDS

LEVELS: Final = 5  # of how much is counted of a user
SOURCES: Final = ("counts", "recency", "network")  # of a share, each with a weight
MOST_CLASSES: Final = 64  # of a field

Numbers = Sequence[float]


class Readout(msgspec.Struct, frozen=True):
    """A linear layer from the network's vectors to classes; the last one stands for everything else."""

    classes: Sequence[int]  # C; buckets of categories or of brands, or price bands from 1 on
    weights: Sequence[Numbers]  # (C + 1, D)
    biases: Numbers  # (C + 1,)

    def check(self, name: str, below: int) -> None:
        """Raises ValueError for sizes that do not fit together, or a class that is not from 0 to `below`."""
        sizes = {len(row) for row in self.weights}
        rows = len(self.classes) + 1
        if len(sizes) != 1 or len(self.weights) != rows or len(self.biases) != rows:
            raise ValueError(f"the layer of {name} for {rows} classes has {len(self.weights)} rows of sizes {sizes}")
        if len(self.classes) > MOST_CLASSES or not all(0 <= each < below for each in self.classes):
            raise ValueError(f"the layer of {name} has classes that there are not")
        _check_finite(name, [*self.biases, *(number for row in self.weights for number in row)])


class FieldWeights(msgspec.Struct, frozen=True):
    """How the categories of a user are weighed, or the brands, or the price bands."""

    kinds: Numbers  # (K,) what an action of each kind is worth
    recency: Numbers  # (ENTRIES,) of the entries, the one touched last first
    mixing: Sequence[Numbers]  # (LEVELS, SOURCES), each row from 0 to 1 and together 1
    readout: Readout | None = None

    def check(self, name: str, below: int) -> None:
        """Raises ValueError for numbers that do not fit together."""
        shape = (len(self.kinds), len(self.recency), [len(row) for row in self.mixing])
        if shape != (len(KINDS), ENTRIES, [len(SOURCES)] * LEVELS):
            raise ValueError(f"the weights of {name} have sizes {shape}")
        numbers = [*self.kinds, *self.recency, *(number for row in self.mixing for number in row)]
        _check_finite(name, numbers)
        if min(numbers) < 0:
            raise ValueError(f"a weight of {name} is below 0")
        if self.readout is not None:
            self.readout.check(name, below)


class FittedPreferences(msgspec.Struct, frozen=True):
    """All that is fitted for preferences."""

    categories: FieldWeights
    brands: FieldWeights
    prices: FieldWeights
    category_names: Sequence[str] = ()  # the most frequent first, at most MOST_NAMES
    brand_names: Sequence[str] = ()

    def check(self) -> None:
        """Raises ValueError for numbers that do not fit together."""
        self.categories.check("categories", int(BUCKETS[0]))
        self.brands.check("brands", int(BUCKETS[1]))
        self.prices.check("price bands", BANDS + 1)
        if max(len(self.category_names), len(self.brand_names)) > MOST_NAMES:
            raise ValueError(f"there are more than {MOST_NAMES} names of categories or of brands")


_UNFITTED: Final = FieldWeights(
    kinds=[1.0] * len(KINDS),
    recency=[0.5**entry for entry in range(ENTRIES)],
    mixing=[[0.5, 0.5, 0.0]] * LEVELS,
)
UNFITTED: Final = FittedPreferences(_UNFITTED, _UNFITTED, _UNFITTED)  # where no version says anything of preferences


def _check_finite(name: str, numbers: Numbers) -> None:
    if not np.isfinite(np.array(numbers, np.float64)).all():
        raise ValueError(f"a weight of {name} is not finite")
