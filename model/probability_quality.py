"""How good probabilities of a yes or no are: whether they tell the two apart, and whether they are right on average.

Shapes: N probabilities with their labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """Of N probabilities, with labels of both kinds among them."""

    number: int
    base_rate: float  # share of the labels that are yes
    mean_probability: float
    auroc: float
    average_precision: float
    brier: float
    calibration_error: float  # expected calibration error, in BINS bins of equal mass
    calibration_error_by_chance: float  # what it would be if every probability were the true one


def probability_quality(probabilities: Floats, labels: NDArray[np.bool_]) -> ProbabilityQuality | None:
    """The quality of probabilities (N,) for labels (N,); None unless there are labels of both kinds."""
    if labels.all() or not labels.any():
        return None
    return ProbabilityQuality(
        number=len(labels),
        base_rate=float(labels.mean()),
        mean_probability=float(probabilities.mean()),
        auroc=auroc(probabilities, labels),
        average_precision=average_precision(probabilities, labels),
        brier=float(np.square(probabilities - labels).mean()),
        calibration_error=calibration_error(probabilities, labels),
        calibration_error_by_chance=calibration_error_by_chance(probabilities),
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


def calibration_error(probabilities: Floats, labels: NDArray[np.bool_]) -> float:
    """sum over bins of n_b / N * |share of yes in b - mean probability in b| (Naeini, Cooper and Hauskrecht, 2015).

    The bins hold equally many probabilities, rising (Nguyen and O'Connor, 2015): none is empty, where bins of equal
    width would put nearly all of a rare event's into one.
    """
    return float(sum(abs((labels[part] - probabilities[part]).sum()) for part in _bins(probabilities)) / len(labels))


def calibration_error_by_chance(probabilities: Floats) -> float:
    """What `calibration_error` would be on average with labels drawn by these very probabilities.

    The mean of |x| for a normal x of mean 0 is its standard deviation times sqrt(2 / pi). Labels of one user that
    follow each other say much the same, so that real ones scatter more: this is a lower bound.
    """
    variances = probabilities * (1 - probabilities)
    spread = sum(float(np.sqrt(variances[part].sum())) for part in _bins(probabilities))
    return float(np.sqrt(2 / np.pi) * spread / len(probabilities))


def _bins(probabilities: Floats) -> list[NDArray[np.intp]]:
    parts = np.array_split(np.argsort(probabilities, kind="stable"), BINS)
    return [part for part in parts if len(part)]
