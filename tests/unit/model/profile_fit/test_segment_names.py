"""Names of segments say what is true, and no two are the same."""

from __future__ import annotations

import numpy as np

from model.profile.segment_features import SEGMENT_FEATURES
from model.profile_fit.segment_names import AVERAGE, LEAST, NOT_BOUGHT, names_of


def table(**columns: list[float]) -> np.ndarray:
    """Features of users, 0 where nothing is said of one."""
    count = len(next(iter(columns.values())))
    features = np.zeros((count, len(SEGMENT_FEATURES)))
    for name, column in columns.items():
        features[:, SEGMENT_FEATURES.index(name.replace("_", " "))] = column
    return features


GROUPS = np.array([0, 0, 1, 1])


def test_what_sets_users_apart_is_said_of_both_sides() -> None:
    features = table(visits=[3, 3, 1, 1], price_band=[2, 2, 9, 9], purchases=[1, 2, 0, 0])
    assert names_of(features, GROUPS, [], 2) == [
        "returning, low price band, buys often",
        f"few visits, high price band, {NOT_BOUGHT}",
    ]


def test_categories_are_called_by_their_names_where_these_are_known() -> None:
    features = np.c_[table(visits=[1, 1, 1, 1]), [0.9, 0.7, 0, 0], [0, 0, 0.8, 0.9]]
    assert names_of(features, GROUPS, ["accessories", None], 2) == ["accessories", AVERAGE]


def test_what_is_not_known_of_most_is_not_said() -> None:
    features = table(visits=[1, 1, 2, 2], gap=[np.nan, np.nan, 5, 6])
    assert names_of(features, GROUPS, [], 2) == ["few visits", "returning"]
    features = table(visits=[1, 1, 1, 1], gap=[np.nan, np.nan, np.nan, 5])
    assert names_of(features, GROUPS, [], 2) == [f"{AVERAGE} (1)", f"{AVERAGE} (2)"]


def test_more_words_are_said_where_it_takes_them() -> None:
    features = table(
        visits=[9, 9, 9, 9, 1, 1],
        purchases=[5, 5, 5, 5, 1, 1],
        price_band=[8, 8, 8, 8, 1, 1],
        repeat_share=[0.6, 0.6, 0.2, 0.2, 0, 0],
    )
    names = names_of(features, np.array([0, 0, 1, 1, 2, 2]), [], 3)
    assert len(set(names)) == 3


def test_every_word_is_true() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, len(SEGMENT_FEATURES)))
    groups = rng.integers(0, 5, 400)
    features[groups == 2] += 0.9
    names = names_of(features, groups, [], 5)
    apart = (features[groups == 2].mean(0) - features.mean(0)) / features.std(0)
    assert names[2].split(", ")[0] != AVERAGE
    assert (apart > LEAST).all()
    low_words = {"few visits", "short visits", "buys little", "low price band", "comes back soon"}
    assert not low_words & set(names[2].split(", "))
