"""Two processes that train together against one, on the CPU by gloo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.event_log import EventLog
from model.data.vocabulary import Vocabulary
from model.errors import TooLittleData
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.fit_network import FitReport, TrainConfig, fit_network, release_replicas
from model.training.fit_run import FitRun
from model.training.losses import FULL_SOFTMAX_ITEMS
from tests.unit.builders.basics import CPU
from tests.unit.builders.follower import one_of_two
from tests.unit.builders.logs import ROOMY, in_parts
from tests.unit.builders.sequences import random_users, sequences

LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789")
MANY = LETTERS + [f"other {n}" for n in range(FULL_SOFTMAX_ITEMS)]  # so many that the softmax is over a sample
# Some gradients are clipped and some are not: Adam alone would not tell a gradient from its half.
CONFIG = TrainConfig(least_epochs=2, most_epochs=2, batch_tokens=60, clip=6.0)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another process follows."""
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    with subprocess.Popen([sys.executable, "-m", "tests.unit.builders.follower", str(meeting)]) as other:
        with one_of_two(meeting, 0):
            yield
            release_replicas()
        assert other.wait(timeout=60) == 0


def fitted(log: EventLog, items: list[str], config: TrainConfig = CONFIG) -> tuple[Network, FitReport]:
    sizes = NetworkConfig(items=len(items), width=16, hidden=16, embedding_dropout=0.0, vector_dropout=0.0)
    network = cold_start(sizes, 1)
    return network, fit_network(network, Vocabulary(items), log, config, FitRun(CPU, 3))


LOG = sequences(*random_users(7, users=80))


@pytest.fixture(scope="module")
def alone() -> dict[int, tuple[Network, FitReport]]:
    """What one process makes of it, by the number of items."""
    return {len(items): fitted(LOG, items) for items in (LETTERS, MANY)}


@pytest.mark.parametrize("items", [LETTERS, MANY], ids=["whole softmax", "sampled softmax"])
def test_two_processes_train_the_model_that_one_trains(
    alone: dict[int, tuple[Network, FitReport]], together: None, items: list[str]
) -> None:
    expected, report = alone[len(items)]
    result, other = fitted(LOG, items)
    assert other.steps == report.steps > 15
    assert other.losses == pytest.approx(report.losses, rel=1e-4)
    for name, weights in expected.state_dict().items():
        torch.testing.assert_close(result.state_dict()[name], weights, rtol=0, atol=1e-4, msg=name)


def test_a_log_in_parts_is_handed_out_part_by_part(together: None, tmp_path: Path) -> None:
    with ExitStack() as files:
        log = in_parts(LOG, 4, ROOMY, tmp_path, files)
        _, report = fitted(log, LETTERS)
    assert report.actions == 2 * len(LOG)
    assert all(np.isfinite(list(report.losses.values())))


def test_a_batch_may_have_fewer_sequences_than_there_are_processes(together: None) -> None:
    lone = sequences("abcab" * 12)
    _, report = fitted(lone, LETTERS)
    assert report.steps == 2


def test_the_others_survive_an_error_of_the_first_one(together: None) -> None:
    with pytest.raises(TooLittleData):
        fitted(sequences("ab"), LETTERS)
    _, report = fitted(LOG, LETTERS)
    assert report.steps > 15
