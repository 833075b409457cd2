"""What preferences foresee: `python -m tests.bench preferences`, on slices of JData and, of prices, on Online Retail.

Each log is cut in time; the model and all that is fitted know what is before the cut and nothing else.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import torch

from model.errors import NextactError
from model.rounds.experiment import fit_on_split
from model.training.fit_run import FitRun, tell_nobody
from stream_app.offline.profiles.preferences import report_preferences
from tests.bench import data_sets

DEFAULT: Final = ("jdata-65", "jdata-80", "retail-80")
_CPU: Final = torch.device("cpu")


def preferences(options: argparse.Namespace) -> dict[str, Any]:
    """Fits a model to each log and measures it."""
    found = {}
    with data_sets.chosen(options, DEFAULT) as sources:
        for name, source in sources.items():
            split = data_sets.split_of(source)
            model = fit_on_split(split, hidden=128, seed=options.seed, device=_CPU, tell=tell_nobody)
            report = report_preferences(model, split, FitRun(_CPU, options.seed))
            if report is None:
                raise NextactError(f"{name} says too little of what its items are")
            print(f"\n{name}: {len(split.known):,} actions are known", flush=True)
            print("\n".join(report.lines()), flush=True)
            found[name] = report.as_json()
    return found
