"""Rhythm features: a user's rhythm at a moment as rows of a head's table, as purchase features are.

Each number falls into one of SIZE buckets that grow with it, and each bucket of each number has a row.
Shapes: N moments, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import uncounted
from model.profile.rhythm import Rhythms

NUM_RHYTHM_FEATURES: Final = 10  # F
SIZE: Final = 16  # buckets of each feature
RHYTHM_ROWS: Final = NUM_RHYTHM_FEATURES * SIZE
_HOUR: Final = 3_600  # seconds
_DAY: Final = 24 * _HOUR
_HOURS_PER_BUCKET: Final = 2  # of the day
_EPOCHS_WEEKDAY: Final = 4  # 1970 began on a Thursday, from Sunday on
# Where buckets begin: counts from 0, 1, 2, 3 … on, seconds from minutes and hours on.
_COUNTS: Final = 2 ** (0.5 * np.arange(1, SIZE)) - 1
_MANY: Final = 2 ** (0.7 * np.arange(1, SIZE)) - 1
_MINUTES: Final = 60 * _COUNTS
_HOURS: Final = _HOUR * (2 ** (0.8 * np.arange(1, SIZE)) - 1)


def rhythm_features(rhythms: Rhythms, times: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns rows (N, F) of a head's table for rhythms (N,) at times (N,), ms since the epoch."""
    features = np.empty((len(rhythms), NUM_RHYTHM_FEATURES), np.int32)
    _fill_all(rhythms, times, features)
    return features


@uncounted
def _fill_all(rhythms: Rhythms, times: NDArray[np.int64], features: NDArray[np.int32]) -> None:
    for n in range(len(features)):
        fill_rhythm_features(rhythms, n, times[n], features[n])


@uncounted
def fill_rhythm_features(rhythms: Rhythms, n: int, time: int, features: NDArray[np.int32]) -> None:
    """Fills in the features (F,) of a rhythm at a time (ms; NO_TIME counts as the beginning of the epoch)."""
    user, now = rhythms[n], max(0, int(time)) // 1000
    known = max(0, now - int(user.first))
    features[0] = _bucket(user.visits, _COUNTS)
    features[1] = _bucket(user.actions, _MANY)
    features[2] = _bucket(user.of_visit, _COUNTS)
    features[3] = _bucket_of_gap(user.gap if user.visits > 1 else -1)
    features[4] = _bucket_of_gap(user.gap_before if user.visits > 2 else -1)
    features[5] = _bucket_of_gap(known // (int(user.visits) - 1) if user.visits > 1 else -1)
    features[6] = _bucket(known, _HOURS)
    features[7] = _bucket(max(0, now - int(user.began)), _MINUTES)
    features[8] = now // (_HOURS_PER_BUCKET * _HOUR) % 12
    features[9] = (now // _DAY + _EPOCHS_WEEKDAY) % 7
    for feature in range(len(features)):
        features[feature] += feature * SIZE


@uncounted
def _bucket(number: int, starts: NDArray[np.float64]) -> int:
    bucket = 0
    while bucket < len(starts) and number >= starts[bucket]:
        bucket += 1
    return bucket


@uncounted
def _bucket_of_gap(seconds: int) -> int:
    """Returns 0 for a gap that there is not (less than 0), and buckets from 1 on for the others."""
    return 0 if seconds < 0 else min(1 + _bucket(seconds, _HOURS), SIZE - 1)
