"""What carries a user's past from one action to the next, behind one protocol; what it keeps is S numbers per user.

Shapes: B sequences, T steps, D width of the inputs, S numbers of state, H width of the outputs.
`step` and `forward` compute the same function, one action at a time and whole sequences at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from model.network.linear_recurrence import LinearRecurrence
from model.network.transformer import Transformer

BackboneName = Literal["gru", "linear", "transformer"]


class Backbone(Protocol):
    """A module that reads the inputs of actions into a state of fixed size. Before any action the state is zero."""

    state_size: int  # S
    output_size: int  # H

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One action each: inputs (B, D), state (B, S) -> state (B, S), outputs (B, H)."""

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whole sequences from a state (B, S): inputs (B, T, D) -> states (B, T, S), outputs (B, T, H)."""

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """The outputs (B, H) of the step that has led to a state (B, S), from its inputs (B, D)."""

    def __call__(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`."""


class GRU(nn.Module):
    """Gated recurrent units (Cho et al., 2014); what it puts out is its state."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self._begin_as_mean()

    def _begin_as_mean(self) -> None:
        """States begin near a gated mean of the inputs."""
        into, within = self.gru.all_weights[0][:2]
        candidate = slice(2 * self.output_size, None)  # after the reset and update gates
        with torch.no_grad():
            for weight in (into[candidate], within[candidate]):
                weight.mul_(0.3)
            into[candidate].add_(torch.eye(self.output_size, into.shape[1]))

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.gru_cell(inputs, state, *self.gru.all_weights[0])
        return state, state

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states, _ = self.gru(inputs, None if state is None else state.unsqueeze(0))
        return states, states

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        return state


BACKBONES: Final[dict[BackboneName, Callable[[int, int], Backbone]]] = {
    "gru": GRU,
    "linear": LinearRecurrence,
    "transformer": Transformer,
}


def make_backbone(name: BackboneName, *, width: int, hidden: int) -> Backbone:
    """A backbone with weights drawn by PyTorch's generator, for inputs of `width` numbers.

    `hidden` is its state size, but for the transformer. Raises `NextactError` where its extra is not installed.
    """
    return BACKBONES[name](width, hidden)
