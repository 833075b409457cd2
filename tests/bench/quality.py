"""The tables of quality: `python -m tests.bench quality`, each data set as `nextact evaluate` measures it.

Prints rows of a table in Markdown: everything; then targets that the user touched before, and others. V-SkNN has the
settings that are best on the newest tenth of the training data (`tests.bench session-knn` shows the grid).
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import torch

from model.evaluation.baselines import ItemIndex
from model.evaluation.quality import Quality, QualityMeter, slices
from model.evaluation.ranking import RankedTargets, rank_all
from model.evaluation.session_knn import SessionKnn, SessionKnnConfig
from model.evaluation.split import Split
from stream_app.offline.evaluate import run_evaluation
from stream_app.offline.report import MODEL, NETWORK, Report
from stream_app.settings import Settings
from tests.bench.data_sets import NAMES_OF_SETS, chosen, split_of
from tests.bench.session_knn import pick

TUNED: Final = "v_sknn tuned"
COLUMNS: Final = {
    MODEL: "served",
    NETWORK: "network alone",
    TUNED: "V-SkNN, tuned",
    "v_sknn": "V-SkNN",
    "rules": "rules",
}
WHOLE: Final = "all"
REPEATS: Final = ("touched before", "new to the user")


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a row for each data set and part of its targets; returns the same figures."""
    torch.set_num_threads(options.threads)
    settings, found = Settings(seed=options.seed, device=options.device), {}
    with chosen(options, NAMES_OF_SETS) as sources:
        for name, source in sources.items():
            report, split = run_evaluation(settings, source, by_epoch=False), split_of(source)
            config = pick(split)
            found[name] = rows(report, tuned(split, config)) | {"seconds": round(report.seconds, 1)}
            print(markdown({name: found[name]}), flush=True)
    print("\n" + markdown(found))
    return found


def tuned(split: Split, config: SessionKnnConfig) -> dict[str, Quality]:
    """The quality of V-SkNN with some settings, on all targets and on those of each part."""
    items = ItemIndex(split.known)
    ranked: RankedTargets = rank_all(SessionKnn(split.known, items, config), split.holdout)
    meter, parts = QualityMeter(items, split.holdout.item_keys), slices(split, items.item_keys)["repeat"]
    return {WHOLE: meter.measure(ranked)} | {part: meter.measure(ranked, subset) for part, subset in parts.items()}


def rows(report: Report, knn: dict[str, Quality]) -> dict[str, Any]:
    """Targets, the share of unseen ones and each ranker's figures in per cent, of all targets and of each part."""
    parts = {WHOLE: report.whole, **report.slices["repeat"]}
    return {
        part: {"targets": by_ranker[MODEL].targets, "unseen": _cent(by_ranker[MODEL].unseen)}
        | {name: _pair((dict(by_ranker) | {TUNED: knn[part]})[name]) for name in COLUMNS}
        for part, by_ranker in parts.items()
    }


def markdown(found: dict[str, Any]) -> str:
    """The rows of a table in Markdown, with its heading."""
    lines = [f"| | targets | unseen | {' | '.join(COLUMNS.values())} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for name, parts in found.items():
        for part in (WHOLE, *REPEATS):
            if part in parts:
                row, label = parts[part], name if part == WHOLE else f"… {part}"
                cells = " | ".join(row[ranker] for ranker in COLUMNS)
                lines.append(f"| {label} | {row['targets']:,} | {row['unseen']:.1f} % | {cells} |")
    return "\n".join(lines)


def _pair(measured: Quality) -> str:
    return f"{_cent(measured.means.recall[20]):.2f} / {_cent(measured.means.mrr[20]):.2f}"


def _cent(share: float) -> float:
    return round(100 * share, 2)
