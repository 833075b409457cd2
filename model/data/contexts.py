"""One table for all that an action's context says: a row for each value of each field, so that a look-up sums them.

Row 0 stays zero: it stands for a price, category or brand that is not given.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import (
    BOUNDARY_SHIFT,
    BRAND_BUCKETS,
    BRAND_SHIFT,
    CATEGORY_BUCKETS,
    CATEGORY_SHIFT,
    GAP_BUCKETS,
    GAP_SHIFT,
    PRICE_BUCKETS,
    PRICE_SHIFT,
    TYPE_SLOTS,
)

_SIZES: Final = {
    "types": TYPE_SLOTS,
    "boundaries": 2,
    "gaps": GAP_BUCKETS,
    "prices": PRICE_BUCKETS,
    "categories": CATEGORY_BUCKETS,
    "brands": BRAND_BUCKETS,
}
_ENDS: Final = tuple(accumulate(_SIZES.values(), initial=1))
CONTEXT_ROWS: Final = _ENDS[-1]
CONTEXT_SLICES: Final = {name: slice(*ends) for name, ends in zip(_SIZES, pairwise(_ENDS), strict=True)}

SIDES: Final = ("categories", "brands")  # what an item has of its own, whatever is done with it
_SIDE_COLUMNS: Final = [list(CONTEXT_SLICES).index(name) for name in SIDES]

_SHIFTS: Final = np.array([0, BOUNDARY_SHIFT, GAP_SHIFT, PRICE_SHIFT, CATEGORY_SHIFT, BRAND_SHIFT], np.uint32)
_MASKS: Final = np.array(list(_SIZES.values()), np.uint32) - np.uint32(1)
_FIRST: Final = np.array(_ENDS[:-1])
_OPTIONAL: Final = np.array([name in ("prices", "categories", "brands") for name in _SIZES])


def context_rows(contexts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The rows of packed contexts of any shape (...), one for each field: (..., 6)."""
    values = (contexts[..., None] >> _SHIFTS) & _MASKS
    return np.where((values == 0) & _OPTIONAL, 0, values + _FIRST)


def side_rows(contexts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The rows of category and brand of packed contexts (...): (..., 2)."""
    return context_rows(contexts)[..., _SIDE_COLUMNS]
