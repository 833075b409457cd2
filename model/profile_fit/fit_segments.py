"""Groups the users of a log into segments, as many as are stable, and names them.

A user is where their last action left them. Groups are found by k-means; their number is the highest at which two
halves of the users agree about as well as at any: what only chance draws is not a group.
Shapes: N users, F features, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from model.data.contexts import unpack_contexts
from model.data.event_log import EventLog, active_sequences
from model.data.recent import recent_at
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.profile.fitted_segments import HIGHEST_ID, NAME_LENGTH, FittedSegments
from model.profile.rhythm import RHYTHM, rhythms_at
from model.profile.segment_features import NUM_SEGMENT_FEATURES, segment_features
from model.profile.segments import SegmentModel
from model.profile_fit.segment_identity import in_words, matched
from model.profile_fit.segment_names import names_of

LEAST_USERS: Final = 100  # to tell groups apart
MANY_USERS: Final = 2_000  # who are worth a group more
FEW: Final = 3  # groups, at least
MORE: Final = 4  # groups of many users, at least
MOST: Final = 8  # groups
SLACK: Final = 0.05  # of the adjusted Rand index, that a higher number of groups may be worse by
KEPT_SLACK: Final = 0.15  # the same for as many groups as before: people know these
_USERS: Final = 50_000  # whom groups are found by, at most
_HALVES: Final = 4  # times that the users are halved to choose the number of groups
_OF_HALVES: Final = 6_000  # users of these, at most
_CATEGORIES: Final = 8  # whose shares tell users apart: the most frequent ones
_QUANTILES: Final = 11
_LIMIT: Final = 3.0  # standard deviations, beyond which a feature says no more
_DIGITS: Final = 6

CategoryName = Callable[[int], str | None]  # what the category of a bucket is called; None: nobody knows
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SegmentUsers:
    """Users of a log, as their last action left them, and what segments are fitted to."""

    sequences: Sequences
    vocabulary: Vocabulary

    def features(self, categories: NDArray[np.int64]) -> Floats:
        """Returns the features (N, F) that tell them apart."""
        last = self.sequences.offsets[1:] - 1
        recent = recent_at(self.sequences, self.vocabulary, last)
        return segment_features(recent, rhythms_at(self.sequences, last), categories).astype(np.float64)

    def assigned(self, segments: FittedSegments) -> NDArray[np.int64]:
        """Returns the indices (N,) of the segments that they are nearest to."""
        last = self.sequences.offsets[1:] - 1
        recent, rhythms = recent_at(self.sequences, self.vocabulary, last), rhythms_at(self.sequences, last)
        model, nobody = SegmentModel(segments), np.zeros(len(last), RHYTHM)
        return model.assign(nobody, np.arange(len(last)), recent, rhythms).numbers


def fit_segments(
    vocabulary: Vocabulary,
    log: EventLog,
    before: FittedSegments | None,
    *,
    seed: int,
    category_name: CategoryName = lambda _bucket: None,
) -> FittedSegments | None:
    """Fits segments to a log; those of `before` keep their ids. None: the log has too few users."""
    share = min(1.0, log.room / 4 / max(1, len(log)))
    users = SegmentUsers(_sampled(active_sequences(log, log.newest(share)), seed), vocabulary)
    if len(users.sequences.offsets) - 1 < LEAST_USERS:
        return None
    with threadpool_limits(1):  # the users are too few for several threads, which wait for each other where others work
        return fitted_to(users, before, seed=seed, category_name=category_name)


def fitted_to(
    users: SegmentUsers, before: FittedSegments | None, *, seed: int, category_name: CategoryName = lambda _bucket: None
) -> FittedSegments | None:
    """Fits segments to users; None where they are too much the same."""
    categories = _frequent_categories(users.sequences)
    features = users.features(categories)
    means, scales = _standard(features)
    points = np.clip(np.where(np.isnan(features), 0, (features - means) * scales), -_LIMIT, _LIMIT)
    started = None if before is None else users.assigned(before)
    count = _number_of_groups(points, seed, 0 if before is None else len(before.ids))
    if count is None:
        return None
    found = _grouped(points, count, started, seed)
    groups, centres = found.labels_.astype(np.int64), found.cluster_centers_
    distances = np.sqrt(np.square(points - centres[groups]).sum(1))
    steps = np.linspace(0, 1, _QUANTILES)
    names = names_of(features, groups, [category_name(bucket) for bucket in categories.tolist()], count)
    names = [name[:NAME_LENGTH] for name in names]
    fitted = FittedSegments(
        means=_rounded(means),
        scales=_rounded(scales),
        limit=_LIMIT,
        categories=categories.tolist(),
        centres=[_rounded(centre) for centre in centres],
        ids=list(range(1, count + 1)),
        names=names,
        quantiles=[_rounded(np.quantile(distances[groups == group], steps)) for group in range(count)],
        sizes=_rounded(np.bincount(groups, minlength=count) / len(groups)),
        next_id=count + 1,
    )
    return fitted if before is None else _with_identity(fitted, before, users)


def _with_identity(fitted: FittedSegments, before: FittedSegments, users: SegmentUsers) -> FittedSegments:
    """Gives groups the ids of those of before which they are."""
    following = before.next_id if before.next_id + len(fitted.ids) <= HIGHEST_ID else 1 + max(before.ids) % 1_000
    identity = matched(users.assigned(before), before.ids, users.assigned(fitted), len(fitted.ids), following)
    changes = in_words(identity, fitted.names)
    return replace(fitted, ids=identity.ids, next_id=identity.next_id, changes=changes)


def _sampled(sequences: Sequences, seed: int) -> Sequences:
    count = len(sequences.offsets) - 1
    if count <= _USERS:
        return sequences
    return sequences.of_users(np.sort(np.random.default_rng(seed).choice(count, _USERS, replace=False)))


def _frequent_categories(sequences: Sequences) -> NDArray[np.int64]:
    """Returns the buckets (C,) of the categories with most actions, most first."""
    counts = np.bincount(unpack_contexts(sequences.contexts).categories)
    counts[0] = 0
    best = np.argsort(-counts, kind="stable")[:_CATEGORIES]
    return best[counts[best] > 0].astype(np.int64)


def _standard(features: Floats) -> tuple[Floats, Floats]:
    """Returns the means (F,) of features (N, F), and scales (F,) that make them comparable; all categories together
    count as one feature."""
    known = ~np.isnan(features)
    counts = np.maximum(known.sum(0), 1)
    means = np.where(known, features, 0).sum(0) / counts
    spread = np.sqrt((np.where(known, features - means, 0) ** 2).sum(0) / counts)
    scales = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0)
    scales[NUM_SEGMENT_FEATURES:] /= np.sqrt(max(1, features.shape[1] - NUM_SEGMENT_FEATURES))
    return means, scales


def _grouped(points: Floats, count: int, started: NDArray[np.int64] | None, seed: int) -> KMeans:
    """Groups points; as they were grouped before, if there were as many groups: then these move, and stay the same."""
    if started is None or len(np.unique(started)) != count or int(started.max()) != count - 1:
        return KMeans(count, n_init=10, random_state=seed).fit(points)
    centres = np.array([points[started == group].mean(0) for group in range(count)])
    return KMeans(count, init=centres, n_init=1, random_state=seed).fit(points)


def _number_of_groups(points: Floats, seed: int, before: int) -> int | None:
    """Returns the highest number of groups that is about as stable as any, or that of before, if it is so stable.

    None: there are fewer different points.
    """
    least = MORE if len(points) >= MANY_USERS else FEW
    different = len(np.unique(points, axis=0))
    if different < 2 * least:
        return None
    randomness = np.random.default_rng(seed)
    sample = points[randomness.choice(len(points), min(len(points), _OF_HALVES), replace=False)]
    halves = [np.array_split(randomness.permutation(len(sample)), 2) for _ in range(_HALVES)]
    agreed = {
        count: float(np.mean([_agreement(sample, half, count, seed) for half in halves]))
        for count in range(least, min(MOST, different // 2) + 1)
    }
    best = max(agreed.values())
    if agreed.get(before, -1.0) >= best - KEPT_SLACK:
        return before
    return max(count for count, stability in agreed.items() if stability >= best - SLACK)


def _agreement(points: Floats, halves: list[NDArray[np.int64]], count: int, seed: int) -> float:
    """Returns how much groups that are found in two halves agree about all points, by the adjusted Rand index."""
    first, second = (KMeans(count, n_init=4, random_state=seed).fit(points[half]).predict(points) for half in halves)
    return float(adjusted_rand_score(first, second))


def _rounded(numbers: Floats) -> list[float]:
    return [round(float(number), _DIGITS) for number in numbers]
