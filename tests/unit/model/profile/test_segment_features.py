"""What tells users apart, beside a plain count."""

from __future__ import annotations

import math

import numpy as np

from model.data.contexts import unpack_contexts
from model.data.recent import RecentActions
from model.profile.rhythm import RHYTHM
from model.profile.segment_features import SEGMENT_FEATURES, segment_features

LOOKS, BUYS, SEARCHES, LIKES, RETURNS = (0, 3), 2, 1, (4, 5), 6  # codes of types
CATEGORIES = np.array([3, 700])


def some_users(count: int = 30) -> tuple[RecentActions, np.ndarray]:
    rng = np.random.default_rng(1)
    starts = np.arange(count, dtype=np.int64)
    contexts = rng.integers(0, 2**32, 2 * count + 50, dtype=np.uint32)
    contexts[contexts % 8 == 7] -= 1  # there is no such type
    keys = rng.integers(0, 6, len(contexts)).astype(np.uint64)
    rhythms = np.zeros(count, RHYTHM)
    rhythms["visits"], rhythms["actions"] = rng.integers(1, 5, count), rng.integers(5, 90, count)
    rhythms["first"], rhythms["last"] = 10_000, 10_000 + rng.integers(0, 10**6, count)
    rhythms["purchases"] = rng.integers(0, 4, count)
    stops = starts + rng.integers(0, 50, count)
    return RecentActions(np.zeros(len(keys), np.int32), contexts, starts, stops, keys), rhythms


def plain(recent: RecentActions, user: np.void, n: int) -> list[float]:
    last = slice(max(recent.starts[n], recent.stops[n] - 32), recent.stops[n])
    fields, keys = unpack_contexts(recent.contexts[last]), recent.item_keys[last].tolist()
    size, visits = max(1, len(keys)), int(user["visits"])
    kinds, priced = fields.types.tolist(), fields.prices[fields.prices > 0]
    return [
        math.log1p(visits),
        math.log1p(int(user["last"] - user["first"]) / 3_600 / (visits - 1)) if visits > 1 else math.nan,
        math.log1p(int(user["actions"]) / visits),
        math.log1p(int(user["purchases"])),
        sum(kind in LOOKS for kind in kinds) / size,
        kinds.count(SEARCHES) / size,
        sum(kind in LIKES for kind in kinds) / size,
        kinds.count(RETURNS) / size,
        sum(key in keys[max(0, at - 4) : at] for at, key in enumerate(keys)) / size,
        float(priced.mean()) if len(priced) else math.nan,
        *((fields.categories == category).sum() / size for category in CATEGORIES),
    ]


def test_features_are_what_a_plain_count_gives() -> None:
    recent, rhythms = some_users()
    found = segment_features(recent, rhythms, CATEGORIES)
    assert found.shape == (len(rhythms), len(SEGMENT_FEATURES) + len(CATEGORIES))
    np.testing.assert_allclose(found, [plain(recent, rhythms[n], n) for n in range(len(rhythms))], rtol=1e-5)
