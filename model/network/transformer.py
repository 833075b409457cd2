"""A causal transformer whose state is its key-value cache: what a constant cost per action is to be compared with.

Every action attends to itself and the 63 before it, so the cache holds the keys and values of 64 actions. They are kept
without a place: how far away an action lies is a bias on its score, by head (ALiBi; Press et al., 2022).

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
    """Layers of Llama (Touvron et al., 2023) from Hugging Face's `transformers`, an extra of this package."""

    def __init__(self, width: int, hidden: int) -> None:
        """`hidden` is half the width of the feed-forward layers."""
        super().__init__()
        self.layers = _llama(width, 2 * hidden)
        self.entry_size = 1 + 2 * LAYERS * width  # the first one tells an action from an empty place
        self.state_size, self.output_size = WINDOW * self.entry_size, width

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, D), state (B, S) -> state (B, S), outputs (B, D)."""
        states, outputs = self(inputs.unsqueeze(1), state)
        return states[:, 0], outputs[:, 0]

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (B, T, D), state (B, S) before them -> states (B, T, S), a view of one cache, outputs (B, T, D)."""
        past = inputs.new_zeros(len(inputs), 0, self.entry_size) if state is None else self._entries(state)[:, 1:]
        entries, outputs = self._attend(inputs, past)
        entries = F.pad(entries, (0, 0, WINDOW - 1 - past.shape[1], 0))
        return entries.flatten(1).unfold(1, self.state_size, self.entry_size), outputs

    def readout(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Outputs (B, D) of the step that has led to a state (B, S), from its inputs (B, D)."""
        return self._attend(inputs.unsqueeze(1), self._entries(state)[:, :-1])[1][:, 0]

    def _entries(self, state: Tensor) -> Tensor:
        return state.reshape(len(state), WINDOW, self.entry_size)

    def _attend(self, inputs: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, T, D) after past entries (B, P, E) -> entries (B, P + T, E), outputs (B, T, D)."""
        cache = _cache_of(past)
        bias = _bias(past[..., 0] > 0, inputs.shape[1])
        outputs = self.layers(inputs_embeds=inputs, attention_mask=bias, past_key_values=cache).last_hidden_state
        kept = [part.transpose(1, 2).flatten(2) for layer in cache.layers for part in (layer.keys, layer.values)]
        readout = torch.cat((past[..., :1], torch.ones_like(inputs[..., :1])), 1)
        return torch.cat((readout, *kept), -1), outputs


def _cache_of(past: Tensor) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    size = (past.shape[-1] - 1) // (2 * LAYERS * HEADS)
    parts = past[..., 1:].reshape(*past.shape[:2], 2 * LAYERS, HEADS, size)
    parts = parts.permute(2, 0, 3, 1, 4)  # (keys and values by layer, B, heads, P, D / heads)
    for layer in range(LAYERS):
        cache.update(parts[2 * layer], parts[2 * layer + 1], layer)
    return cache


def _bias(filled: Tensor, steps: int) -> Tensor:
    """What is added to scores (B, heads, T, P + T), where `filled` (B, P) tells which past entries are actions."""
    keys = filled.shape[1] + steps
    places = torch.arange(keys, device=filled.device)
    distance = places[-steps:, None] - places
    slopes = 2.0 ** (-8 / HEADS * torch.arange(1, HEADS + 1, device=filled.device))
    seen = (distance >= 0) & (distance < WINDOW) & F.pad(filled, (0, steps), value=True)[:, None]
    return (-slopes[:, None, None] * distance).masked_fill(~seen[:, None], float("-inf"))


class _NoRotation(nn.Module):
    """In place of rotary embeddings: a key turned by its place needs a place that grows for ever."""

    def forward(self, inputs: Tensor, _places: Tensor) -> tuple[Tensor, Tensor]:
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
