"""Gated diagonal linear recurrences: the state of a unit decays and is added to, by how much only the input says.

    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t tanh(x_t)        a_t, i_t in (0, 1) from the input of step t

As h_(t-1) is in no gate, all steps of a sequence are computed at once by a parallel scan. The decay is that of minGRU
(Feng et al., 2024, "Were RNNs All We Needed?"), the scaling of what comes in that of the RG-LRU (De et al., 2024,
"Griffin"). Neither normalisation nor a gated output, which belong to deep stacks of these: `RECIPE.md` has the figures.

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
LONGEST_MEMORY: Final = 256  # actions until at most 1/e is left: what decays more slowly is lost to rounding to halves
_FIRST_MEMORY: Final = 64  # actions; before training the units of a block remember from 1 to so many
_FIRST_WEIGHT: Final = 2.0  # before training, of what is remembered, where the action itself has 1

Recurrence = Callable[[Tensor, Tensor, Tensor], Tensor]  # what is added, decay, state given -> states


class LinearRecurrence(nn.Module):
    """Two blocks, each with half of the state: a recurrence, added to what it reads."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.state_size, self.output_size = hidden, width
        ends = [hidden * block // BLOCKS for block in range(BLOCKS + 1)]
        self.units = [end - start for start, end in pairwise(ends)]
        self.blocks = nn.ModuleList(_Block(width, range(*part)) for part in pairwise(ends))

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, D), state (B, S) -> state (B, S), outputs (B, D)."""
        return self._through(inputs, state, torch.addcmul)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (B, T, D), state (B, S) before them -> states (B, T, S), outputs (B, T, D)."""
        before = inputs.new_zeros(len(inputs), self.state_size) if state is None else state
        return self._through(inputs, before, scan)

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Outputs (B, D) of the step that has led to a state (B, S), from its inputs (B, D)."""
        return self._through(inputs, state, lambda _added, _decay, after: after)[1]

    def _through(self, inputs: Tensor, state: Tensor, recurrence: Recurrence) -> tuple[Tensor, Tensor]:
        states = []
        for block, part in zip(self.blocks, torch.split(state, self.units, -1), strict=True):
            after, inputs = block(inputs, part, recurrence)
            states.append(after)
        return torch.cat(states, -1), inputs


class _Block(nn.Module):
    def __init__(self, width: int, units: range) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * len(units))
        self.out = nn.Linear(len(units), width)
        self._begin_as_blend(torch.tensor(units) % width)

    def _begin_as_blend(self, places: Tensor) -> None:
        """Outputs begin near a blend of the inputs: each unit remembers one place (N,) of them, and gives it back."""
        units = torch.arange(len(places))
        memories = torch.logspace(0, math.log10(_FIRST_MEMORY), len(units))
        with torch.no_grad():
            rates, entry, _ = self.gates.bias.chunk(3)
            rates.copy_((1 / memories).expm1().log())  # the inverse of softplus
            entry.add_(1)
            values = self.gates.weight.chunk(3)[2]
            values.mul_(0.3)[units, places] += 1
            self.out.weight.mul_(0.3)[places, units] += _FIRST_WEIGHT

    def forward(self, inputs: Tensor, state: Tensor, recurrence: Recurrence) -> tuple[Tensor, Tensor]:
        rates, entry, values = self.gates(inputs).chunk(3, -1)
        log_decay = -(F.softplus(rates) + 1 / LONGEST_MEMORY)
        scale = (-torch.expm1(2 * log_decay)).sqrt()  # keeps a state as large as what comes in, however long it lasts
        states = recurrence(scale * entry.sigmoid() * values.tanh(), log_decay.exp(), state)
        return states, inputs + self.out(states)


def scan(added: Tensor, decay: Tensor, state: Tensor) -> Tensor:
    """h_t = added_t + decay_t h_(t-1) for t in 0..T-1: added, decay (B, T, N), h_(-1) = state (B, N) -> (B, T, N)."""
    first = added[:, :1] + decay[:, :1] * state.unsqueeze(1)
    states: Tensor = _Scan.apply(torch.cat((first, added[:, 1:]), 1), decay)
    return states


class _Scan(torch.autograd.Function):
    """From the zero state. The gradient is the same recurrence, from the end to the beginning."""

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
    """The recurrence in log2(T) passes (Hillis and Steele, 1986): after each, a state knows twice as many steps.

    Only products of decays, so nothing overflows, as the quotients of a cumulative product would.
    """
    states, decay = added.clone(), decay.clone()
    reach = 1
    while reach < states.shape[1]:
        states[:, reach:] += decay[:, reach:] * states[:, :-reach]
        decay[:, reach:] = decay[:, reach:] * decay[:, :-reach]
        reach *= 2
    return states
