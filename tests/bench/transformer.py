"""A causal transformer whose state is its key-value cache: a backbone to compare with, never served.

Every action attends to itself and the 63 before it, so the cache holds the keys and values of 64 actions. They are
stored without a position: the distance of an action is a bias on its score, by head (ALiBi; Press et al., 2022).

Shapes: B sequences, T steps, D width, W actions of the window, E numbers kept of an action, S = W * E, P past actions.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import NextactError

WINDOW: Final = 64
LAYERS: Final = 2
HEADS: Final = 4


class Transformer(nn.Module):
    """A `Backbone` of Llama's layers (Touvron et al., 2023), from Hugging Face's `transformers`, an optional extra."""

    def __init__(self, width: int, hidden: int) -> None:
        """`hidden` is half the width of the feed-forward layers. Raises `NextactError` if the extra is missing."""
        super().__init__()
        self.layers = _llama(width, 2 * hidden)
        self.entry_size = 1 + 2 * LAYERS * width  # the first number is 1 for an action, 0 for an empty entry
        self.state_size, self.output_size = WINDOW * self.entry_size, width

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Takes one action of each user: inputs (B, D), state (B, S) -> state (B, S), outputs (B, D)."""
        states, outputs = self(inputs.unsqueeze(1), state)
        return states[:, 0], outputs[:, 0]

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Takes whole sequences from a state (B, S): inputs (B, T, D) -> states (B, T, S), outputs (B, T, D).

        The states are views of one cache.
        """
        past = inputs.new_zeros(len(inputs), 0, self.entry_size) if state is None else self._entries(state)[:, 1:]
        entries, outputs = self._attend(inputs, past)
        entries = F.pad(entries, (0, 0, WINDOW - 1 - past.shape[1], 0))
        return entries.flatten(1).unfold(1, self.state_size, self.entry_size), outputs

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Returns the outputs (B, D) of the step that led to a state (B, S), from its inputs (B, D)."""
        return self._attend(inputs.unsqueeze(1), self._entries(state)[:, :-1])[1][:, 0]

    def _entries(self, state: Tensor) -> Tensor:
        return state.reshape(len(state), WINDOW, self.entry_size)

    def _attend(self, inputs: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the layers: inputs (B, T, D), past entries (B, P, E) -> entries (B, P + T, E), outputs (B, T, D)."""
        cache = _cache_of(past)
        bias = _bias(past[..., 0] > 0, inputs.shape[1])
        outputs = self.layers(inputs_embeds=inputs, attention_mask=bias, past_key_values=cache).last_hidden_state
        entries = [tensor.transpose(1, 2).flatten(2) for layer in cache.layers for tensor in (layer.keys, layer.values)]
        filled = torch.cat((past[..., :1], torch.ones_like(inputs[..., :1])), 1)
        return torch.cat((filled, *entries), -1), outputs


def _cache_of(past: Tensor) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    size = (past.shape[-1] - 1) // (2 * LAYERS * HEADS)
    tensors = past[..., 1:].reshape(*past.shape[:2], 2 * LAYERS, HEADS, size)
    tensors = tensors.permute(2, 0, 3, 1, 4)  # (keys and values by layer, B, heads, P, D / heads)
    for layer in range(LAYERS):
        cache.update(tensors[2 * layer], tensors[2 * layer + 1], layer)
    return cache


def _bias(filled: Tensor, steps: int) -> Tensor:
    """Returns what is added to scores (B, heads, T, P + T); `filled` (B, P) marks the past entries that are actions."""
    keys = filled.shape[1] + steps
    positions = torch.arange(keys, device=filled.device)
    distance = positions[-steps:, None] - positions
    slopes = 2.0 ** (-8 / HEADS * torch.arange(1, HEADS + 1, device=filled.device))
    visible = (distance >= 0) & (distance < WINDOW) & F.pad(filled, (0, steps), value=True)[:, None]
    return (-slopes[:, None, None] * distance).masked_fill(~visible[:, None], float("-inf"))


class _NoRotation(nn.Module):
    """Stands in for rotary embeddings: a key turned by its position needs a position that grows for ever."""

    def forward(self, inputs: Tensor, _positions: Tensor) -> tuple[Tensor, Tensor]:
        size = inputs.shape[-1] // HEADS
        return inputs.new_ones(1, inputs.shape[1], size), inputs.new_zeros(1, inputs.shape[1], size)


def _llama(width: int, feed_forward: int) -> Any:
    try:
        from transformers import LlamaConfig, LlamaModel
    except ImportError as error:
        raise NextactError(
            "the transformer backbone needs Hugging Face's transformers: pip install 'nextact[transformers]'"
        ) from error
    if width % HEADS:
        raise ValueError(f"the width {width} is not a multiple of the {HEADS} heads")
    config = LlamaConfig(
        vocab_size=1,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        attn_implementation="sdpa",
    )
    layers = LlamaModel(config)
    layers.embed_tokens = None  # inputs come embedded
    layers.rotary_emb = _NoRotation()
    return layers
