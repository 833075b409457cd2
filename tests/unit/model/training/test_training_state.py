"""The state of a fit: what is restored goes on as if it had never stopped, what does not fit is dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.checkpoints import Checkpoint
from model.training.fit_network import TrainConfig, adam_with_schedule
from model.training.row_adam import RowAdam
from model.training.training_state import TrainingProgress, TrainingState
from tests.unit.builders.basics import CPU

PROGRESS = TrainingProgress(epochs=2, step=5, losses={"item": 0.1 + 0.2})


def fitting(seed: int, width: int = 4) -> TrainingState:
    """A fit of a small network that has not done a step."""
    network = cold_start(NetworkConfig(items=3, width=width, hidden=4), seed)
    optimizer, schedule = adam_with_schedule(network, TrainConfig(), steps=50)
    generator = torch.Generator().manual_seed(seed)
    tables = {name: RowAdam(table, 50) for name, table in network.row_tables.items()}
    return TrainingState(network, optimizer, schedule, tables, generator, np.random.default_rng(seed), CPU)


def steps(state: TrainingState, count: int) -> list[float]:
    """Does steps down a loss that depends on all weights; returns what was drawn on the way."""
    draws = []
    for _ in range(count):
        state.optimizer.zero_grad()
        tables = {name: table for name, table in state.tables.items() if name == "items" or count == 3}
        used = {name: table.read(torch.arange(len(table.means))) for name, table in tables.items()}
        others = [weight for name, weight in state.network.named_parameters() if name.split(".")[0] not in state.tables]
        read = [rows.weights for rows in used.values()]
        sum(((weight - 1) ** 2).sum() for weight in [*others, *read]).backward()  # type: ignore[union-attr]
        for name, rows in used.items():
            tables[name].step(rows, 0.01)
        state.optimizer.step()
        state.schedule.step()
        draws += [torch.rand(1).item(), torch.rand(1, generator=state.generator).item(), state.randomness.random()]
    return draws


def weights(network: Network) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def test_a_restored_fit_goes_on_with_the_same_weights_rates_and_draws(tmp_path: Path) -> None:
    checkpoint, state, other = Checkpoint(tmp_path / "fit", print), fitting(1), fitting(2)
    with torch.random.fork_rng(devices=[]):
        steps(state, 5)
        state.save(checkpoint, PROGRESS)
        expected, rates = steps(state, 3), [group["lr"] for group in state.optimizer.param_groups]
        steps(other, 2)
        assert other.restore(checkpoint) == PROGRESS
        assert steps(other, 3) == expected
    assert [group["lr"] for group in other.optimizer.param_groups] == rates
    for one, same in zip(weights(state.network), weights(other.network), strict=True):
        assert torch.equal(one, same)


def test_without_a_checkpoint_a_fit_begins_at_its_start(tmp_path: Path) -> None:
    state = fitting(1)
    before = weights(state.network)
    assert state.restore(Checkpoint(tmp_path / "fit", print)) == TrainingProgress()
    assert all(torch.equal(one, same) for one, same in zip(before, weights(state.network), strict=True))


def test_a_checkpoint_of_other_shapes_is_dropped(tmp_path: Path) -> None:
    lines: list[str] = []
    checkpoint = Checkpoint(tmp_path / "fit", lines.append)
    fitting(1, width=6).save(checkpoint, PROGRESS)
    assert fitting(1).restore(checkpoint) == TrainingProgress()
    assert "is dropped, its fit begins from scratch" in lines[0]
    assert not (tmp_path / "fit").exists()
