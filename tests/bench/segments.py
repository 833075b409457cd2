"""Segments beside random groups and thirds by recency, frequency and value: `python -m tests.bench segments`.

Groups are made of what lies before the cut; who buys afterwards, and who comes within a day, is compared.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.segment_quality import SegmentQuality, segment_quality
from model.evaluation.split import Split
from model.profile.fitted_segments import FittedSegments
from model.profile_fit.fit_segments import SegmentUsers, fitted_to
from stream_app.offline.profiles.segments import COLUMNS, lift_cell, spread_words
from stream_app.offline.text_table import table
from tests.bench.data_sets import chosen, split_of

SETS: Final = ("jdata-65", "jdata-80", "retail-70", "yoochoose")
EARLIER: Final = 0.2  # newest share of the known actions that the version before has not seen


def segments(options: argparse.Namespace) -> dict[str, Any]:
    """Prints tables for each data set; returns the same figures."""
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with chosen(options, SETS) as sources, threadpool_limits(1):
        for name, source in sources.items():
            print(f"grouping {name}", file=sys.stderr, flush=True)
            found[name] = measured(name, split_of(source), options.seed)
    return found


def measured(name: str, split: Split, seed: int) -> dict[str, Any]:
    """Prints what is found on one data set."""
    vocabulary, known = Vocabulary(split.items), split.known
    before = _fitted(known.before(known.newest(EARLIER)), vocabulary, None, seed)
    fitted = _fitted(known, vocabulary, before, seed)
    quality = segment_quality(fitted, vocabulary, split.holdout.sequences, split.cut)
    assert quality is not None
    halves, versions = _of_halves(known, vocabulary, seed), _of_versions(known, vocabulary, before, fitted)
    print(f"\n{name}: {len(fitted.ids)} segments of {quality.users:,} users; {'; '.join(fitted.changes) or 'none new'}")
    print("\n".join(_table(fitted, quality)))
    print(
        f"adjusted Rand index: of two halves' segments {halves:.3f}, with those of the version before {versions:.3f}; "
        f"{quality.flips:.1f} flips per 100 events"
    )
    for what, ours, thirds in (
        ("who buys", quality.purchases, quality.thirds_purchases),
        ("who comes within a day", quality.returns, quality.thirds_returns),
    ):
        if ours is not None and thirds is not None:
            print(f"spread of the lifts, {what}: {spread_words(ours, thirds)}")
    return {"quality": asdict(quality), "halves": halves, "versions": versions, "changes": fitted.changes}


def _fitted(log: Sequences, vocabulary: Vocabulary, before: FittedSegments | None, seed: int) -> FittedSegments:
    fitted = fitted_to(SegmentUsers(log, vocabulary), before, seed=seed)
    if fitted is None:
        raise SystemExit("the users of the log are too few, or too much the same")
    return fitted


def _of_halves(known: Sequences, vocabulary: Vocabulary, seed: int) -> float:
    """How much the segments of two halves of the users agree about all users."""
    order = np.random.default_rng(seed).permutation(len(known.offsets) - 1)
    users = SegmentUsers(known, vocabulary)
    first, second = (
        users.assigned(_fitted(known.of_users(np.sort(half)), vocabulary, None, seed))
        for half in np.array_split(order, 2)
    )
    return float(adjusted_rand_score(first, second))


def _of_versions(known: Sequences, vocabulary: Vocabulary, before: FittedSegments, after: FittedSegments) -> float:
    """How much two versions agree about the users, by the ids of their segments."""
    users = SegmentUsers(known, vocabulary)
    old, new = (np.array(each.ids)[users.assigned(each)] for each in (before, after))
    return float(adjusted_rand_score(old, new))


def _table(fitted: FittedSegments, quality: SegmentQuality) -> list[str]:
    rates = (quality.purchases, quality.returns)
    rows = {
        f"{number} {name}": (f"{quality.sizes[group]:,}", *(lift_cell(each, group) for each in rates))
        for group, (number, name) in enumerate(zip(fitted.ids, fitted.names, strict=True))
    }
    return list(table(COLUMNS, rows))
