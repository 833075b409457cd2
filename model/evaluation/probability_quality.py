"""How good probabilities of a yes or no are: whether they tell the two apart, and whether they are right on average.

Shapes: N probabilities with their labels, in bins of B each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15
Floats = NDArray[np.float64]
Bins = list[NDArray[np.intp]]  # the places of the probabilities in each, (B,)


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """Of N probabilities, with labels of both kinds among them."""

    number: int
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
    """The quality of probabilities (N,) for labels (N,) of users (N,); None unless there are labels of both kinds."""
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
    """The chance that a yes scores above a no, half of it for equal scores (Mann and Whitney, 1947)."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    yes = int(labels.sum())
    above = ranks[labels].sum() - yes * (yes + 1) / 2
    return float(above / (yes * (len(labels) - yes)))


def average_precision(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Precision at every threshold, weighed by the recall that it adds; equal scores share a threshold."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    found, taken = np.cumsum(labels[order])[last], np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0) * found / taken).sum() / labels.sum())


def calibration_error(probabilities: Floats, labels: NDArray[np.bool_], bins: Bins) -> float:
    """sum over bins of B / N * |share of yes - mean probability| (Naeini, Cooper and Hauskrecht, 2015)."""
    return float(sum(abs((labels[part] - probabilities[part]).sum()) for part in bins) / len(labels))


def calibration_error_by_chance(
    probabilities: Floats, labels: NDArray[np.bool_], users: NDArray[np.int64], bins: Bins
) -> float:
    """What `calibration_error` would be on average with as many answers to such users, were every probability right.

    Answers to one user that follow each other share their fate, so what scatters is users: a bin's variance is that of
    a sum over users. The mean of |x| for a normal x of mean 0 is its standard deviation times sqrt(2 / pi).
    """
    spread = sum(_spread(labels[part] - probabilities[part], users[part]) for part in bins)
    return float(np.sqrt(2 / np.pi) * spread / len(labels))


def _spread(errors: Floats, users: NDArray[np.int64]) -> float:
    """The standard deviation of a sum of errors (B,), of which those of a user go together."""
    _, places = np.unique(users, return_inverse=True)
    return float(np.sqrt(np.square(np.bincount(places, errors)).sum()))


def equal_width(probabilities: Floats) -> Bins:
    """Places of probabilities (N,) by BINS equal parts of 0 to 1, without empty ones (Guo et al., 2017)."""
    numbers = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def equal_mass(probabilities: Floats) -> Bins:
    """Places of probabilities (N,) in BINS bins that hold equally many, rising (Nguyen and O'Connor, 2015).

    Bins of equal width would put nearly all of a rare event's probabilities into one.
    """
    parts = np.array_split(np.argsort(probabilities, kind="stable"), BINS)
    return [part for part in parts if len(part)]
