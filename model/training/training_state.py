"""All that the rest of a fit depends on, and how it is saved and restored after an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from model.errors import VersionRefused
from model.network.network import Network
from model.network.tensor_checks import check_shapes
from model.training.checkpoints import Checkpoint

_NETWORK: Final = "network."
_OPTIMIZER: Final = "optimizer."
_GLOBAL, _GLOBAL_CUDA, _GENERATOR = "random.torch", "random.cuda", "random.generator"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a fit is: epochs and steps done, and the mean losses of the last epoch."""

    epochs: int = 0
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The parts of a fit that change while it goes on; also PyTorch's global generators, which dropout draws from."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    randomness: np.random.Generator
    device: torch.device

    def save(self, savepoint: Checkpoint, reached: TrainingProgress) -> None:
        """Saves it."""
        facts = {
            "epochs": reached.epochs,
            "step": reached.step,
            "losses": reached.losses,
            "schedule": self.schedule.state_dict(),
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "randomness": self.randomness.bit_generator.state,
        }
        savepoint.save(self._tensors(), facts)

    def restore(self, savepoint: Checkpoint) -> TrainingProgress:
        """Puts back what was saved last, if there is anything that fits; how far the fit is then."""
        saved = savepoint.load()
        if saved is None:
            return TrainingProgress()
        weights = _below(_NETWORK, saved.tensors)
        try:
            check_shapes("checkpoint", weights, self.network.state_dict())
        except VersionRefused as refusal:
            savepoint.drop(str(refusal))
            return TrainingProgress()
        self.network.load_state_dict(weights)
        self._restore_optimizer(_below(_OPTIMIZER, saved.tensors), saved.facts)
        self._restore_generators(saved.tensors, saved.facts)
        return TrainingProgress(saved.facts["epochs"], saved.facts["step"], saved.facts["losses"])

    def _tensors(self) -> dict[str, Tensor]:
        found = {_NETWORK + name: tensor for name, tensor in self.network.state_dict().items()}
        for place, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"{_OPTIMIZER}{place}.{name}": tensor for name, tensor in moments.items()}
        found |= {_GLOBAL: torch.get_rng_state(), _GENERATOR: self.generator.get_state()}
        return found | ({_GLOBAL_CUDA: torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {})

    def _restore_optimizer(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            place, _, name = key.partition(".")
            moments.setdefault(int(place), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        for group, rate in zip(groups, facts["rates"], strict=True):
            group["lr"] = rate
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.schedule.load_state_dict(facts["schedule"])

    def _restore_generators(self, tensors: Any, facts: dict[str, Any]) -> None:
        torch.set_rng_state(tensors[_GLOBAL])
        self.generator.set_state(tensors[_GENERATOR])
        self.randomness.bit_generator.state = facts["randomness"]
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[_GLOBAL_CUDA], self.device)


def _below(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
