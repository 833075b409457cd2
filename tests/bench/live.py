"""Live on natural slices of JData: `python -m tests.bench live`, each scored as `nextact evaluate --live` scores it.

A model is trained on what lies before a slice; then a worker's pipeline answers the slice in its own time. Beside it
are rules that learn as the slice passes, and the same model with statistics that stand still. Ratios of Recall@20 have
90 % intervals: of draws of the users with replacement, the same users on both sides. The oracle knows everything that
anybody has touched up to that moment: what it cannot foresee, nobody can.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluation.live_scores import TARGET_KINDS, LiveScores
from model.evaluation.ranking import LIST_SIZE
from model.rounds.experiment import fit_on_split
from stream_app.device import choose_device
from stream_app.offline.evaluation_data import DataSource, read_data
from stream_app.offline.live_run import LiveRun, live_model, run_live
from stream_app.offline.progress import ProgressLine
from stream_app.settings import Settings
from tests.bench.data_sets import SLICES, chosen

DRAWS: Final = 2_000
LEAST: Final = {"rules": 1.25, "still": 1.1}  # ratios of Recall@20 that are wanted


def live(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a row for each slice and kind of target; returns the same figures."""
    torch.set_num_threads(options.threads)
    settings, found = Settings(seed=options.seed, device=options.device), {}
    with chosen(options, tuple(SLICES)) as sources:
        for name, source in sources.items():
            found[name] = figures(*scores_of(source, settings))
            print(markdown({name: found[name]}), flush=True)
    print("\n" + markdown(found))
    return found


def scores_of(source: DataSource, settings: Settings) -> tuple[LiveScores, LiveScores]:
    """The scores of a worker whose statistics learn, and of one whose statistics stand still."""
    data, device = read_data(replace(source, live_lag=0.0), settings, ProgressLine()), choose_device(settings.device)
    assert data.live is not None
    fitted = fit_on_split(
        data.split, hidden=settings.hidden, seed=settings.seed, device=device, tell=lambda *_: None, live=True
    )
    assert fitted.still is not None
    learning = live_model(fitted, data.split)
    still = replace(live_model(replace(fitted, fusion=fitted.still), data.split), counter=None)
    learned, stood = (run_live(LiveRun(model, data.live), settings, device) for model in (learning, still))
    return learned, stood


def figures(learned: LiveScores, stood: LiveScores) -> dict[str, Any]:
    """Recall@20 and MRR@20 in per cent, of all targets and of each kind; the ratios to the others."""
    masks = {name: learned.kinds == code for code, name in enumerate(TARGET_KINDS)}
    masks = {"all": np.ones(len(learned), np.bool_)} | masks
    parts = {name: _part(learned, stood, mask) for name, mask in masks.items() if mask.any()}
    users, hits = learned.targets.users, _hits(learned.model_ranks)
    ratios = {
        "rules": ratio(hits, _hits(learned.rules_ranks), users),
        "still": ratio(hits, _hits(stood.model_ranks), users),
    }
    return {"parts": parts, "ratios": ratios, "ceiling": round(100 * learned.ceiling, 2)}


def ratio(hits: NDArray[np.bool_], others: NDArray[np.bool_], users: NDArray[np.int64]) -> list[float]:
    """The ratio of two shares of hits on the same targets of users, and its 90 % interval over users."""
    _, of = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(of, mask) for mask in (hits, others)])
    count = sums.shape[1]
    draws = np.random.default_rng(1).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    drawn = draws @ sums.T
    whole = sums.sum(1)
    ends = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), (0.05, 0.95))
    return [round(float(value), 3) for value in (whole[0] / max(whole[1], 1), *ends)]


def markdown(found: dict[str, Any]) -> str:
    """The rows of a table in Markdown, with its heading."""
    lines = ["| Recall@20 / MRR@20 | targets | live | statistics stand still | rules | oracle |", "|---" * 6 + "|"]
    for name, slice_ in found.items():
        for part, row in slice_["parts"].items():
            label = f"{name}: {_ratios(slice_['ratios'])}" if part == "all" else f"… {part}"
            oracle = f"{slice_['ceiling']:.2f}" if part == "all" else ""
            cells = " | ".join("{:.2f} / {:.2f}".format(*row[ranker]) for ranker in ("live", "still", "rules"))
            lines.append(f"| {label} | {row['targets']:,} | {cells} | {oracle} |")
    return "\n".join(lines)


def _ratios(ratios: dict[str, list[float]]) -> str:
    said = []
    for name, (value, low, high) in ratios.items():
        verdict = "reached" if value >= LEAST[name] else f"MISSED: at least {LEAST[name]:g}"
        said.append(f"{value:.3f} ({low:.3f} to {high:.3f}) times {name}, {verdict}")
    return "; ".join(said)


def _part(learned: LiveScores, stood: LiveScores, mask: NDArray[np.bool_]) -> dict[str, Any]:
    both = {"live": learned.model_ranks, "still": stood.model_ranks, "rules": learned.rules_ranks}
    return {"targets": int(mask.sum())} | {name: _figures(ranks[mask]) for name, ranks in both.items()}


def _figures(ranks: NDArray[np.int64]) -> list[float]:
    hits = _hits(ranks)
    return [round(100 * float(values.mean()), 2) for values in (hits, hits / ranks)]


def _hits(ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    return ranks <= LIST_SIZE
