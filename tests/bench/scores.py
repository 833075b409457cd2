"""Scores beside gradient-boosted trees on the same features: `python -m tests.bench scores`.

Both learn from what lies before the cut and are scored after later events, where the log goes on for long enough to
tell. What comes back is foreseen on logs of months, leaving on logs of clicks.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from model.data.vocabulary import Vocabulary
from model.evaluation.score_quality import ScoreQuality, answers_at, judged_from, score_quality
from model.evaluation.split import Split
from model.profile.fitted_scores import Score, Scores
from model.profile.scores import ScoreHeads
from model.profile_fit.fit_scores import RETURN_KIND, ScoreKind, fit_score, leave_kind
from model.profile_fit.score_labels import Labels, leave_labels, return_labels
from stream_app.offline.text_table import table
from tests.bench.data_sets import RETAIL_SLICES, SLICES, chosen, split_of

SETS: Final = ("yoochoose", *SLICES, "jdata-test", *RETAIL_SLICES)
COLUMNS: Final = (
    *("answers", "base rate", "mean", "AUROC", "… trees", "top tenth", "… trees"),
    *("Brier", "… trees", "ECE", "by chance", "… trees", "by chance"),
)
UNSEEN: Final = Score(0.5)  # stands for a score that is not measured


def scores(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a row for each data set; returns the same figures."""
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, ScoreQuality]] = {}
    with chosen(options, SETS) as sources:
        for name, source in sources.items():
            print(f"fitting on {name}", file=sys.stderr, flush=True)
            found[name] = measured(split_of(source), returns=name in RETAIL_SLICES, seed=options.seed)
    named = {f"{'return' if name in RETAIL_SLICES else 'leave'}, {name}": each for name, each in found.items()}
    print("\n".join(table(COLUMNS, {name: _row(each) for name, each in named.items()})))
    print(
        "top tenth: how much more often it came true in the tenth with the highest scores than in all. "
        "ECE: in 15 bins of equal width; by chance: what it would be if each were right."
    )
    return {name: {who: asdict(quality) for who, quality in each.items()} for name, each in found.items()}


def measured(split: Split, *, returns: bool, seed: int) -> dict[str, ScoreQuality]:
    """The quality of the score and of the trees."""
    known, after, vocabulary = split.known, split.holdout.sequences, Vocabulary(split.items)
    kind, labels = (RETURN_KIND, return_labels) if returns else (leave_kind(vocabulary), leave_labels)
    before, later = labels(known), labels(after)
    positions = judged_from(after, later, split.cut)
    score = fit_score(kind, known, before, len(known), seed=seed)
    heads = ScoreHeads(Scores(UNSEEN, score) if returns else Scores(score))
    answers = answers_at(heads, vocabulary, after, positions)
    ours = answers.returns if returns else answers.leave
    assert ours is not None
    found = {"ours": ours.astype(np.float64), "trees": _trees(kind, split, before, positions, seed)}
    return {who: _checked(score_quality(each, after, later, positions)) for who, each in found.items()}


def _trees(
    kind: ScoreKind, split: Split, before: Labels, positions: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """What scikit-learn's trees say, with its own settings."""
    examples = np.flatnonzero(before.known)
    model = HistGradientBoostingClassifier(random_state=seed)
    model.fit(kind.features(split.known, examples), before.came[examples])
    found: NDArray[np.float64] = model.predict_proba(kind.features(split.holdout.sequences, positions))[:, 1]
    return found


def _checked(quality: ScoreQuality | None) -> ScoreQuality:
    if quality is None:
        raise SystemExit("nobody left or came back after the cut, or everybody did")
    return quality


def _row(each: dict[str, ScoreQuality]) -> tuple[str, ...]:
    ours, trees = each["ours"], each["trees"]
    of_ours, of_trees = ours.probability, trees.probability
    return (
        f"{of_ours.number:,}",
        *(f"{value:.3f}" for value in (of_ours.base_rate, of_ours.mean_probability, of_ours.auroc, of_trees.auroc)),
        *(f"{value:.2f}" for value in (ours.lift, trees.lift)),
        *(f"{value:.4f}" for value in (of_ours.brier, of_trees.brier)),
        *(
            f"{value:.4f}"
            for one in (of_ours, of_trees)
            for value in (one.calibration_error, one.calibration_error_by_chance)
        ),
    )
