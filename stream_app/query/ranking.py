"""Puts the candidates of a question in the order in which to show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.data.events import item_key
from model.kernels.compiled import Floats
from stream_app.contract.questions.answers import RankedItem


def distinct_items(candidates: Sequence[str]) -> list[str]:
    """Returns candidates each once, in the order in which they were given."""
    return list(dict.fromkeys(candidates))


def keys_of(items: Sequence[str]) -> NDArray[np.uint64]:
    """Returns the keys of items, (G,)."""
    return np.fromiter(map(item_key, items), np.uint64, len(items))


def ranked_items(items: Sequence[str], scores: Floats) -> list[RankedItem]:
    """Returns items by falling scores (G,), and what nothing is known of, NaN, behind them as it was given."""
    pairs = list(zip(items, scores.tolist(), strict=True))
    known = sorted((pair for pair in pairs if not math.isnan(pair[1])), key=lambda pair: -pair[1])
    ranked = [RankedItem(item, score, True) for item, score in known]
    return ranked + [RankedItem(item, 0.0, False) for item, score in pairs if math.isnan(score)]
