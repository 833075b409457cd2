"""All that the rest of a fit depends on: saved and restored after an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.errors import VersionRefused
from model.network.network import Network
from model.network.tensor_checks import check_shapes
from model.training.checkpoints import Checkpoint, Metadata
from model.training.row_adam import RowAdam

_NETWORK: Final = "network."
_OPTIMIZER: Final = "optimizer."
_MEANS, _SQUARES = ".means", ".squares"  # behind the name of a table
_GLOBAL, _GLOBAL_CUDA, _GENERATOR = "random.torch", "random.cuda", "random.generator"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a fit is: epochs and steps done, and the mean losses of the last epoch."""

    epochs: int = 0
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What changes from step to step of a fit; also PyTorch's global generators, which dropout draws from."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    tables: Mapping[str, RowAdam]  # by name; all rows up to date, whenever the state is saved
    generator: torch.Generator
    randomness: np.random.Generator
    device: torch.device

    def save(self, checkpoint: Checkpoint, progress: TrainingProgress) -> None:
        """Saves the state and how far the fit is."""
        metadata = {
            "epochs": progress.epochs,
            "step": progress.step,
            "losses": progress.losses,
            "tables": {name: table.steps for name, table in self.tables.items()},
            "schedule": self.schedule.state_dict(),
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "randomness": self.randomness.bit_generator.state,
        }
        checkpoint.save(self._tensors(), metadata)

    def restore(self, checkpoint: Checkpoint) -> TrainingProgress:
        """Restores what was saved last, if its shapes are those of the network; returns how far the fit is then."""
        saved = checkpoint.load()
        if saved is None:
            return TrainingProgress()
        weights = _with_prefix(_NETWORK, saved.tensors)
        try:
            check_shapes("checkpoint", weights, self.network.state_dict())
        except VersionRefused as refusal:
            checkpoint.drop(str(refusal))
            return TrainingProgress()
        self.network.load_state_dict(weights)
        self._restore_optimizer(_with_prefix(_OPTIMIZER, saved.tensors), saved.metadata)
        for name, table in self.tables.items():
            means, squares = saved.tensors[name + _MEANS], saved.tensors[name + _SQUARES]
            table.resume(means, squares, saved.metadata["tables"][name])
        self._restore_generators(saved.tensors, saved.metadata)
        return TrainingProgress(saved.metadata["epochs"], saved.metadata["step"], saved.metadata["losses"])

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {_NETWORK + name: tensor for name, tensor in self.network.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{_OPTIMIZER}{index}.{name}": tensor for name, tensor in moments.items()}
        for name, table in self.tables.items():
            tensors |= {name + _MEANS: table.means, name + _SQUARES: table.squares}
        tensors |= {_GLOBAL: torch.get_rng_state(), _GENERATOR: self.generator.get_state()}
        return tensors | ({_GLOBAL_CUDA: torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {})

    def _restore_optimizer(self, tensors: dict[str, Tensor], metadata: Metadata) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        for group, rate in zip(groups, metadata["rates"], strict=True):
            group["lr"] = rate
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.schedule.load_state_dict(metadata["schedule"])

    def _restore_generators(self, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
        torch.set_rng_state(tensors[_GLOBAL])
        self.generator.set_state(tensors[_GENERATOR])
        self.randomness.bit_generator.state = metadata["randomness"]
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[_GLOBAL_CUDA], self.device)


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
