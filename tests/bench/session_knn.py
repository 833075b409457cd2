"""V-SkNN by its example's settings and tuned: `python -m tests.bench session-knn`.

A small grid is tried on the newest tenth of the training data, held out; what is best there, by the sum of Recall@20
and MRR@20, is scored on the test beside the settings of session-rec's example.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any, Final

from model.data.contexts import unpack_contexts
from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import Ranking, rank_all, ranking
from model.evaluation.session_knn import SessionKnn, SessionKnnConfig
from model.evaluation.split import Split, validation
from tests.bench.data_sets import NAMES_OF_SETS, chosen, split_of

EXAMPLE: Final = SessionKnnConfig()
NEIGHBOURS: Final = (100, 500, 1500)
POSITION_POWERS: Final = (0.5, 1.0, 2.0, 4.0)
SHARED_POWERS: Final = (0.5, 1.0, 2.0)
IDF_WEIGHTINGS: Final = (0.0, 0.5, 1.0, 5.0)


def session_knn(options: argparse.Namespace) -> dict[str, Any]:
    """Prints the grid of each data set and what it picks; returns the figures on the tests."""
    found: dict[str, Any] = {}
    with chosen(options, NAMES_OF_SETS) as sources:
        for name, source in sources.items():
            split = split_of(source)
            print(f"\n{name}: on the newest tenth of the training data")
            picked = pick(split)
            print(f"{name}: on the test, {len(split.holdout):,} targets")
            items = ItemIndex(split.known)
            figures = {}
            for label, config in {"the example's": EXAMPLE, "tuned": picked}.items():
                figures[label] = _figures(_measured(split, items, config))
                print(_line(config, figures[label]), label, flush=True)
            found[name] = figures | {"picked": _settings(picked)}
    return found


def pick(split: Split) -> SessionKnnConfig:
    """The settings that are best on the newest part of the training data; prints all of them."""
    known, holdout = validation(split.known)
    ranker, tried = SessionKnn(known, ItemIndex(known)), {}
    for config in grid(several_sessions=split.timed and _has_sessions(split)):
        tried[config] = ranking(rank_all(ranker.with_config(config), holdout).ranks)
        print(_line(config, _figures(tried[config])), flush=True)
    return max(tried, key=lambda config: tried[config].recall[20] + tried[config].mrr[20])


def grid(*, several_sessions: bool) -> list[SessionKnnConfig]:
    """The settings that are tried; where users have several sessions, also with all of them as the present one."""
    whole = (False, True) if several_sessions else (False,)
    return [
        SessionKnnConfig(neighbours, EXAMPLE.candidates, position, shared, idf, cosine, user)
        for neighbours, position, shared, idf, cosine, user in product(
            NEIGHBOURS, POSITION_POWERS, SHARED_POWERS, IDF_WEIGHTINGS, (False, True), whole
        )
    ]


def _has_sessions(split: Split) -> bool:
    boundaries = unpack_contexts(split.known.contexts).boundaries.astype(bool)
    boundaries[split.known.offsets[:-1]] = False
    return bool(boundaries.any())


def _measured(split: Split, items: ItemIndex, config: SessionKnnConfig) -> Ranking:
    return ranking(rank_all(SessionKnn(split.known, items, config), split.holdout).ranks)


def _figures(means: Ranking) -> dict[str, float]:
    return {"recall_at_20": round(100 * means.recall[20], 2), "mrr_at_20": round(100 * means.mrr[20], 2)}


def _settings(config: SessionKnnConfig) -> dict[str, float | bool]:
    return {name: getattr(config, name) for name in config.__slots__}


def _line(config: SessionKnnConfig, figures: dict[str, float]) -> str:
    similarity = "cosine" if config.cosine else "product"
    return (
        f"k {config.neighbours:5} of {config.candidates}  position^{config.position_power:<3g}  "
        f"shared^{config.shared_power:<3g}  idf {config.idf_weighting:<3g}  {similarity:7}  "
        f"{'user' if config.whole_user else 'session':7}  "
        f"{figures['recall_at_20']:6.2f} / {figures['mrr_at_20']:5.2f}"
    )
