"""Inputs for backbones, and how far steps through halves lead away from whole sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from model.network.backbones import Backbone


def inputs_of(seed: int, *shape: int, width: int) -> Tensor:
    """Inputs drawn from a normal distribution, (*shape, width)."""
    return torch.randn(*shape, width, generator=torch.Generator().manual_seed(seed))


def drift(backbone: Backbone, inputs: Tensor) -> float:
    """The largest distance of outputs by steps through halves from those of `forward`, relative to their length."""
    wanted = backbone(inputs)[1]
    state, found = torch.zeros(len(inputs), backbone.state_size), 0.0
    for t in range(inputs.shape[1]):
        state, outputs = backbone.step(inputs[:, t], state.half().float())
        distance = (outputs - wanted[:, t]).norm(dim=-1) / wanted[:, t].norm(dim=-1)
        found = max(found, distance.max().item())
    return found
