"""Writes the scores of a batch as fields of its predictions, in one compiled loop.

Shapes: N predictions.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.kernels.compiled import Floats, compiled
from model.profile.scores import ScoreAnswers
from stream_app.contract.json_numbers import probability
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy, frozen
from stream_app.errors import DataPathError

_LEAVE: Final = np.frombuffer(b',"leave_probability":', np.uint8)
_RETURN: Final = np.frombuffer(b',"return_probability":', np.uint8)
_MOST: Final = len(_LEAVE) + len(_RETURN) + 2 * 8  # bytes of a prediction's fields
_NOTHING: Final = np.zeros(0, np.float32)


def scores_json(scores: ScoreAnswers) -> Strings:
    """Returns the fields of N predictions, each with a comma before it.

    Raises `DataPathError` when a number is not a probability: then the version's weights cannot be trusted.
    """
    text, starts = _write(scores.leave, _NOTHING if scores.returns is None else scores.returns)
    if not len(starts):
        raise DataPathError("a score is not a probability (NaN, or not from 0 to 1)")
    return frozen(text, starts)


@compiled
def _write(leave: Floats, returns: Floats) -> tuple[Bytes, Ints]:
    """Writes N fields or pairs of fields; returns nothing at all when a number is not a probability."""
    out, starts = np.empty(len(leave) * _MOST, np.uint8), np.zeros(len(leave) + 1, np.int64)
    at = 0
    for n in range(len(leave)):
        at = probability(out, copy(out, at, _LEAVE), leave[n])
        if at >= 0 and len(returns):
            at = probability(out, copy(out, at, _RETURN), returns[n])
        if at < 0:
            return out[:0], starts[:0]
        starts[n + 1] = at
    return out[:at], starts
