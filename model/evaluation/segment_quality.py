"""How good segments are on a log: whether they last, and whether they foretell who buys and who comes back.

Shapes: N users, G groups, E events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import PURCHASE
from model.data.recent import recent_at
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.profile.fitted_segments import FittedSegments
from model.profile.rhythm import RHYTHM, rhythms_at
from model.profile.segments import SegmentModel

DAY_MS: Final = 24 * 3_600_000
_DRAWS: Final = 200  # random groups of the same sizes
_Z: Final = 1.96  # standard deviations of a 95 % interval

Groups = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroupRates:
    """How often something came true of the users of each group."""

    users: list[int]  # (G,)
    lifts: list[float]  # (G,) of the rate, over that of all users
    low: list[float]  # (G,) of a 95 % interval of the lift, by Wilson
    high: list[float]  # (G,)
    spread: float  # standard deviation of the lifts, each weighted by its users
    spread_by_chance: float  # the same of random groups of the same sizes, their 95th percentile of 100


@dataclass(frozen=True, slots=True)
class SegmentQuality:
    """The figures of a version's segments."""

    names: list[str]
    users: int
    sizes: list[int]  # (G,) users of each
    flips: float  # changes of segment per 100 events of a user after the first one
    purchases: GroupRates | None  # after the cut; None: nobody bought, or everybody
    returns: GroupRates | None  # within a day after the cut
    thirds_purchases: GroupRates | None  # of groups by thirds of recency, frequency and value instead
    thirds_returns: GroupRates | None


def segment_quality(
    segments: FittedSegments, vocabulary: Vocabulary, sequences: Sequences, cut: int
) -> SegmentQuality | None:
    """Groups users by what they did before `cut` (ms) and looks at what they did afterwards; None: there are none."""
    known = sequences.before(cut)
    users = len(known.offsets) - 1
    if not users:
        return None
    numbers, flips = assigned_in_time(segments, vocabulary, known)
    bought, returned = outcomes(sequences, known, cut)
    thirds = rfv_thirds(known)
    return SegmentQuality(
        names=segments.names,
        users=users,
        sizes=np.bincount(numbers, minlength=len(segments.names)).tolist(),
        flips=flips,
        purchases=group_rates(numbers, bought),
        returns=group_rates(numbers, returned),
        thirds_purchases=group_rates(thirds, bought),
        thirds_returns=group_rates(thirds, returned),
    )


def assigned_in_time(segments: FittedSegments, vocabulary: Vocabulary, sequences: Sequences) -> tuple[Groups, float]:
    """Assigns users after each of their events, as a worker does; returns the last index of each (N,), and flips per
    100 events."""
    events = np.flatnonzero(sequences.ends_event)
    owners, rhythms = sequences.users_at(events), rhythms_at(sequences, events)
    users = np.zeros(len(sequences.offsets) - 1, RHYTHM)
    recent = recent_at(sequences, vocabulary, events)
    numbers = SegmentModel(segments).assign(users, owners, recent, rhythms).numbers
    follows = owners[1:] == owners[:-1]
    flips = (numbers[1:] != numbers[:-1]) & follows
    last = np.append(~follows, True)
    return numbers[last], 100 * float(flips.sum()) / max(1, int(follows.sum()))


def outcomes(sequences: Sequences, known: Sequences, cut: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tells which of the known users (N,) bought after the cut (ms), and which did anything within a day after it."""
    later = sequences.times >= cut
    owners = sequences.user_keys[sequences.users_at(np.arange(len(sequences)))]
    bought = np.isin(known.user_keys, owners[later & (sequences.types == PURCHASE)])
    return bought, np.isin(known.user_keys, owners[later & (sequences.times < cut + DAY_MS)])


def rfv_thirds(known: Sequences) -> Groups:
    """Groups users (N,) by the sum of their thirds of how lately they came, how often, and how much they bought.

    That makes seven groups, as many as the most segments about: of more groups the lifts would lie farther apart.
    """
    last = known.offsets[1:] - 1
    rhythms = rhythms_at(known, last)
    columns = (known.times[last], rhythms["visits"], rhythms["purchases"])
    thirds = [np.argsort(np.argsort(column, kind="stable")) * 3 // len(last) for column in columns]
    groups: Groups = np.unique(sum(thirds), return_inverse=True)[1].astype(np.int64)
    return groups


def group_rates(groups: Groups, came: NDArray[np.bool_], seed: int = 1) -> GroupRates | None:
    """Compares groups (N,) by how often something came true of their users (N,); None: of nobody, or of all."""
    if came.all() or not came.any():
        return None
    sizes = np.bincount(groups)
    rates, low, high = _wilson(np.bincount(groups, came, len(sizes)).astype(np.float64), np.maximum(sizes, 1))
    mean, randomness = came.mean(), np.random.default_rng(seed)
    by_chance = [_spread(groups, randomness.permutation(came)) for _ in range(_DRAWS)]
    return GroupRates(
        users=sizes.tolist(),
        lifts=(rates / mean).tolist(),
        low=(low / mean).tolist(),
        high=(high / mean).tolist(),
        spread=_spread(groups, came),
        spread_by_chance=float(np.quantile(by_chance, 0.95)),
    )


def _spread(groups: Groups, came: NDArray[np.bool_]) -> float:
    sizes = np.bincount(groups)
    rates = np.bincount(groups, came, len(sizes)) / np.maximum(sizes, 1)
    mean = came.mean()
    return float(np.sqrt((sizes * np.square(rates - mean)).sum() / len(groups)) / mean)


def _wilson(
    counts: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns rates (G,), and where their 95 % intervals begin and end (Wilson, 1927)."""
    rates, z2 = counts / sizes, _Z**2
    middle = (rates + z2 / (2 * sizes)) / (1 + z2 / sizes)
    half = _Z * np.sqrt(rates * (1 - rates) / sizes + z2 / (4 * np.square(sizes))) / (1 + z2 / sizes)
    return rates, middle - half, middle + half
