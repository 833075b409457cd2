"""Backbones carry a user's past from one action to the next; each keeps S numbers per user.

Shapes: B sequences, T steps, D width of the inputs, S numbers of state, H width of the outputs.
`step` and `forward` compute the same function, one action at a time and whole sequences at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from model.network.linear_recurrence import LinearRecurrence

BackboneName = Literal["gru", "linear"]


class Backbone(Protocol):
    """A module that sums up the inputs of actions in a state of fixed size. Before any action the state is zero."""

    state_size: int  # S
    output_size: int  # H

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Takes one action of each user: inputs (B, D), state (B, S) -> state (B, S), outputs (B, H)."""

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Takes whole sequences from a state (B, S): inputs (B, T, D) -> states (B, T, S), outputs (B, T, H)."""

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Returns the outputs (B, H) of the step that led to a state (B, S), from its inputs (B, D)."""

    def __call__(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Calls `forward`."""


class GRU(nn.Module):
    """Gated recurrent units (Cho et al., 2014); the output is the state."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self._initialise_as_mean()

    def _initialise_as_mean(self) -> None:
        """Makes states begin near a gated mean of the inputs."""
        from_inputs, from_state = self.gru.all_weights[0][:2]
        candidate = slice(2 * self.output_size, None)  # after the reset and update gates
        with torch.no_grad():
            for weight in (from_inputs[candidate], from_state[candidate]):
                weight.mul_(0.3)
            from_inputs[candidate].add_(torch.eye(self.output_size, from_inputs.shape[1]))

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.gru_cell(inputs, state, *self.gru.all_weights[0])
        return state, state

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states, _ = self.gru(inputs, None if state is None else state.unsqueeze(0))
        return states, states

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        return state


MakeBackbone = Callable[[int, int], Backbone]  # width of the inputs, size of the state; draws its weights by PyTorch

BACKBONES: Final[dict[BackboneName, MakeBackbone]] = {"gru": GRU, "linear": LinearRecurrence}
