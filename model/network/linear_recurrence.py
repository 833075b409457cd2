"""Gated diagonal linear recurrences: only the input decides how much a unit's state decays and how much is added to it.

    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t tanh(x_t)        a_t, i_t in (0, 1) from the input of step t

As no gate reads h_(t-1), all steps of a sequence are computed at once by a parallel scan. The decay is that of minGRU
(Feng et al., 2024, "Were RNNs All We Needed?"), the scaling of the input that of the RG-LRU (De et al., 2024,
"Griffin"). There is no normalisation and no gated output, which belong to deep stacks: `RECIPE.md` has the figures.

Shapes: B sequences, T steps, D width of inputs and outputs, N units of a block, S units of all blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS: Final = 2
LONGEST_MEMORY: Final = 256  # actions until at most 1/e of an input is left; slower decays are lost in half precision
_FIRST_MEMORY: Final = 64  # actions: before training, the units of a block remember from 1 to so many
_FIRST_WEIGHT: Final = 2.0  # weight of the remembered inputs before training; the action itself has weight 1

Recurrence = Callable[[Tensor, Tensor, Tensor], Tensor]  # added, decay, state before -> states


class LinearRecurrence(nn.Module):
    """Two blocks, each with half of the state; a block adds its recurrence to its inputs."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.state_size, self.output_size = hidden, width
        ends = [hidden * block // BLOCKS for block in range(BLOCKS + 1)]
        self.units = [end - start for start, end in pairwise(ends)]
        self.blocks = nn.ModuleList(_Block(width, range(start, end)) for start, end in pairwise(ends))

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Takes one action of each user: inputs (B, D), state (B, S) -> state (B, S), outputs (B, D)."""
        return self._run(inputs, state, torch.addcmul)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Takes whole sequences from a state (B, S): inputs (B, T, D) -> states (B, T, S), outputs (B, T, D)."""
        before = inputs.new_zeros(len(inputs), self.state_size) if state is None else state
        return self._run(inputs, before, scan)

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Returns the outputs (B, D) of the step that led to a state (B, S), from its inputs (B, D)."""
        return self._run(inputs, state, lambda _added, _decay, after: after)[1]

    def _run(self, inputs: Tensor, state: Tensor, recurrence: Recurrence) -> tuple[Tensor, Tensor]:
        states = []
        for block, before in zip(self.blocks, torch.split(state, self.units, -1), strict=True):
            after, inputs = block(inputs, before, recurrence)
            states.append(after)
        return torch.cat(states, -1), inputs


class _Block(nn.Module):
    def __init__(self, width: int, units: range) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * len(units))
        self.out = nn.Linear(len(units), width)
        self._initialise_as_blend(torch.tensor(units) % width)

    def _initialise_as_blend(self, columns: Tensor) -> None:
        """Makes outputs begin near a blend of the inputs: each unit remembers one of their columns (N,)."""
        units = torch.arange(len(columns))
        memories = torch.logspace(0, math.log10(_FIRST_MEMORY), len(units))
        with torch.no_grad():
            rates, entry, _ = self.gates.bias.chunk(3)
            rates.copy_((1 / memories).expm1().log())  # the inverse of softplus
            entry.add_(1)
            values = self.gates.weight.chunk(3)[2]
            values.mul_(0.3)[units, columns] += 1
            self.out.weight.mul_(0.3)[columns, units] += _FIRST_WEIGHT

    def forward(self, inputs: Tensor, state: Tensor, recurrence: Recurrence) -> tuple[Tensor, Tensor]:
        rates, entry, values = self.gates(inputs).chunk(3, -1)
        log_decay = -(F.softplus(rates) + 1 / LONGEST_MEMORY)
        scale = (-torch.expm1(2 * log_decay)).sqrt()  # keeps a state as large as its inputs, however slow the decay
        states = recurrence(scale * entry.sigmoid() * values.tanh(), log_decay.exp(), state)
        return states, inputs + self.out(states)


def scan(added: Tensor, decay: Tensor, state: Tensor) -> Tensor:
    """Computes h_t = added_t + decay_t h_(t-1): added and decay (B, T, N), state before them (B, N) -> (B, T, N)."""
    first = added[:, :1] + decay[:, :1] * state.unsqueeze(1)
    states: Tensor = _Scan.apply(torch.cat((first, added[:, 1:]), 1), decay)
    return states


class _Scan(torch.autograd.Function):
    """The recurrence from the zero state. Its gradient is the same recurrence, from the end to the beginning."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, decay: Tensor) -> Tensor:
        states = _doubling(added, decay)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        following = F.pad(decay[:, 1:], (0, 0, 0, 1)).flip(1)
        to_added = _doubling(gradients[0].flip(1), following).flip(1)
        return to_added, to_added * F.pad(states[:, :-1], (0, 0, 1, 0))


def _doubling(added: Tensor, decay: Tensor) -> Tensor:
    """Computes the recurrence in log2(T) passes (Hillis and Steele, 1986): each doubles the steps that a state knows.

    It multiplies decays only, so nothing overflows, as the quotients of a cumulative product would.
    """
    states, decay = added.clone(), decay.clone()
    reach = 1
    while reach < states.shape[1]:
        states[:, reach:] += decay[:, reach:] * states[:, :-reach]
        decay[:, reach:] = decay[:, reach:] * decay[:, :-reach]
        reach *= 2
    return states
