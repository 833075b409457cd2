"""How good probabilities of a yes or no are: whether they separate the two, and whether they are right on average.

Shapes: N probabilities with their labels, in bins of B each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15  # as is usual in papers

Floats = NDArray[np.float64]
Bins = list[NDArray[np.intp]]  # the indices of the probabilities in each, (B,)


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """The figures of N probabilities, whose labels are of both kinds."""

    number: int  # N
    base_rate: float  # share of the labels that are yes
    mean_probability: float
    auroc: float
    average_precision: float
    brier: float
    calibration_error: float  # expected calibration error, in BINS bins of equal width
    calibration_error_by_chance: float  # what it would be if every probability were the true one
    calibration_error_equal_mass: float  # the same two in bins that hold equally many
    calibration_error_equal_mass_by_chance: float


def probability_quality(
    probabilities: Floats, labels: NDArray[np.bool_], users: NDArray[np.int64]
) -> ProbabilityQuality | None:
    """Measures probabilities (N,) for labels (N,) of users (N,); None unless there are labels of both kinds."""
    if labels.all() or not labels.any():
        return None
    width, mass = equal_width(probabilities), equal_mass(probabilities)
    return ProbabilityQuality(
        number=len(labels),
        base_rate=float(labels.mean()),
        mean_probability=float(probabilities.mean()),
        auroc=auroc(probabilities, labels),
        average_precision=average_precision(probabilities, labels),
        brier=float(np.square(probabilities - labels).mean()),
        calibration_error=calibration_error(probabilities, labels, width),
        calibration_error_by_chance=calibration_error_by_chance(probabilities, labels, users, width),
        calibration_error_equal_mass=calibration_error(probabilities, labels, mass),
        calibration_error_equal_mass_by_chance=calibration_error_by_chance(probabilities, labels, users, mass),
    )


def auroc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Returns the chance that a yes scores above a no; equal scores count half (Mann and Whitney, 1947)."""
    _, levels, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[levels]
    yes = int(labels.sum())
    above = ranks[labels].sum() - yes * (yes + 1) / 2
    return float(above / (yes * (len(labels) - yes)))


def average_precision(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Returns the mean precision over thresholds, weighted by the recall each adds; equal scores share a threshold."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits, predicted = np.cumsum(labels[order])[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / predicted).sum() / labels.sum())


def calibration_error(probabilities: Floats, labels: NDArray[np.bool_], bins: Bins) -> float:
    """Sums B / N * |share of yes - mean probability| over the bins (Naeini, Cooper and Hauskrecht, 2015)."""
    return float(sum(abs((labels[members] - probabilities[members]).sum()) for members in bins) / len(labels))


def calibration_error_by_chance(
    probabilities: Floats, labels: NDArray[np.bool_], users: NDArray[np.int64], bins: Bins
) -> float:
    """Returns what `calibration_error` would be on average for these users, if every probability were the true one.

    Answers to one user come true or fail together, so a bin's variance is that of a sum over users. The mean of |x|
    for a normal x of mean 0 is its standard deviation times sqrt(2 / pi).
    """
    spread = sum(_spread(labels[members] - probabilities[members], users[members]) for members in bins)
    return float(np.sqrt(2 / np.pi) * spread / len(labels))


def _spread(errors: Floats, users: NDArray[np.int64]) -> float:
    """Returns the standard deviation of a sum of errors (B,), clustered by user."""
    _, clusters = np.unique(users, return_inverse=True)
    return float(np.sqrt(np.square(np.bincount(clusters, errors)).sum()))


def equal_width(probabilities: Floats) -> Bins:
    """Bins probabilities (N,) by equal intervals of 0 to 1, without empty ones (Guo et al., 2017)."""
    numbers = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def equal_mass(probabilities: Floats) -> Bins:
    """Bins probabilities (N,) so that the bins hold equally many, rising (Nguyen and O'Connor, 2015).

    Bins of equal width would put nearly all of a rare event's probabilities into one.
    """
    bins = np.array_split(np.argsort(probabilities, kind="stable"), BINS)
    return [members for members in bins if len(members)]
