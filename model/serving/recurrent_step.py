"""Updates of hidden states in place, by one compiled call or by tensor operations.

Shapes: N actions, D width, H hidden units, S slots of users.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.vocabulary import Tokens
from model.network.backbones import GRU
from model.network.network import Network
from model.serving.gru_kernel import CompiledStep

_AT_ONCE: Final = 256  # users per step on the CPU: their intermediate results stay in the processor's caches


class Stepper(Protocol):
    """Takes a network's steps."""

    def step(self, tokens: Tokens, users: Tensor, cuts: NDArray[np.int64], hidden: Tensor) -> Tensor:
        """Takes actions (N,) of users (N,) into their rows of the hidden states (S, H).

        Returns the vectors (N, D) after each.
        `cuts` are ascending indices of actions, 0 and N included: between two of them each user has one action at
        most, and the actions before a cut are taken in before those after it.
        """


class TensorStep:
    """Steps any backbone on any device, by tensor operations."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._at_once = network, _AT_ONCE if device.type == "cpu" else None

    def step(self, tokens: Tokens, users: Tensor, cuts: NDArray[np.int64], hidden: Tensor) -> Tensor:
        """See `Stepper.step`."""
        if self._at_once:
            cuts = np.union1d(cuts, np.arange(0, len(users), self._at_once))
        vectors = hidden.new_empty(len(users), self._network.config.width, dtype=torch.float32)
        for begin, end in pairwise(cuts.tolist()):
            rows = slice(begin, end)
            state, vectors[rows] = self._network.step(tokens[rows], hidden[users[rows]].float())
            hidden[users[rows]] = state.half()
        return vectors


def stepper_of(network: Network, device: torch.device) -> Stepper:
    """The fastest stepper for a network in evaluation mode on its device."""
    if device.type == "cpu" and isinstance(network.backbone, GRU):
        return CompiledStep(network)
    return TensorStep(network, device)
