"""Events/s of training where sessions are short and where few users have long histories, in processor time."""

from __future__ import annotations

import argparse
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np
import torch

from model.data.events import Actions
from model.data.sequences import frequent_items, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.split import in_order_of_time
from model.network.network import NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun, Progress
from stream_app.offline.event_files import event_file
from stream_app.offline.log_reader import LogReader
from tests.bench.compare import Ratio, clock_of, in_turn, show
from tests.paths import SHARED_DATA

ACTIONS: Final = 70_000  # of each log: the rate depends on the size of the batches, and this on that of the log
SHORT: Final = "yoochoose100k"
LONG: Final = "online_retail"
HEAVIEST: Final = "online_retail, its 200 users with most actions"
_STEPS: Final = 40  # that are timed
_FILES: Final = {
    SHORT: ("train_full.tsv.gz", ("user_id=SessionId", "item_id=ItemId", "timestamp=Time"), "view"),
    LONG: ("until_2011-08.csv.gz", ("user_id=CustomerID", "item_id=Description", "timestamp=InvoiceDate"), "purchase"),
}


class _EnoughError(Exception):
    """Ends a fit."""


def training_rates(options: argparse.Namespace) -> dict[str, object]:
    """Prints and returns events/s; nothing where the logs are not there."""
    if not SHARED_DATA.is_dir():
        return {}
    logs = {name: _log(name) for name in _FILES}
    short, long = (_first(logs[name]) for name in (SHORT, LONG))
    sizes = np.unique(np.array(logs[LONG].users), return_counts=True)
    heaviest = set(sizes[0][np.argsort(sizes[1])[-200:]].tolist())
    of_heaviest = logs[LONG].take(np.flatnonzero([user in heaviest for user in logs[LONG].users]))
    device = torch.device(options.device)
    runs = {SHORT: short, LONG: long, HEAVIEST: _first(of_heaviest)}
    rates = in_turn({name: partial(_rate, log, device) for name, log in runs.items()}, options.repeats or 3)
    return show(rates, "events/s", (Ratio(LONG, SHORT, least=0.5), Ratio(HEAVIEST, SHORT, least=0.5)))


def _log(name: str) -> Actions:
    file, columns, kind = _FILES[name]
    given = {"columns": columns, "types": (), "constant_type": kind, "timezone": "UTC", "time_unit": "auto"}
    path = str(SHARED_DATA / name / file)
    return in_order_of_time(LogReader().read([event_file(path, given | {"file_format": "auto", "baskets": False})]))


def _first(log: Actions) -> Actions:
    return log.take(np.arange(min(ACTIONS, len(log))))


def _rate(log: Actions, device: torch.device) -> float:
    sequences, vocabulary, clock, marks = sequences_of(log), Vocabulary(frequent_items(log)), clock_of(device), []

    def tell(_stage: str, step: Progress) -> None:
        marks.append((clock(), step.steps))
        if step.step > _STEPS:
            raise _EnoughError

    network = cold_start(NetworkConfig(items=len(vocabulary)), seed=1)
    with suppress(_EnoughError):
        fit_network(network, vocabulary, sequences, TrainConfig(most_epochs=4), FitRun(device, 1, tell))
    (begun, steps), (ended, _) = marks[0], marks[-1]
    return 4 * len(log) * (len(marks) - 1) / steps / (ended - begun)
