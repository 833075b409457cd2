"""A step of gated recurrent units on the CPU, from tokens to vectors, in one compiled call.

PyTorch takes a dozen operations for a step. Each costs more than the arithmetic of a few users, and waits for the
interpreter, which other threads hold, before the next one. Here a batch is stepped without the interpreter. Matrix
products are made of blocks: the sums of a few users and of a tile's units stay in registers while the inputs pass by.
Shapes: N actions, M of them at a time, D width, H hidden units, S slots of users, I inputs and U units of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from model.data.vocabulary import Tokens
from model.kernels.compiled import FAST, Floats, compiled
from model.kernels.fast_math import fast_exp
from model.kernels.simd import FLOAT, FLOATS, LANES, LONG, arrays_of, load, splat, store
from model.network.backbones import GRU
from model.network.network import WORDS_READ, Network

Integers = NDArray[np.int64]

_AT_ONCE: Final = 64  # M at most: their intermediate results stay in the processor's caches
_USERS: Final = 4  # users per block
_VECTORS: Final = 4  # vectors per row of a tile
_TILE: Final = LANES * _VECTORS  # units per tile
_FARTHEST: Final = np.float32(40)  # largest input of a sigmoid, which is 0 or 1 beyond it


class _DenseLayer(NamedTuple):
    """A linear layer, its units padded with zeros to whole tiles."""

    tiles: Floats  # (U / _TILE, I, _TILE)
    biases: Floats  # (U,)


class _Layers(NamedTuple):
    """All weights of a step. The gates come in the order of PyTorch's `GRUCell`."""

    items: Floats  # (rows, D)
    words: Floats  # (rows, D)
    words_read: int  # of a search, the first ones
    contexts: Floats  # (rows, D)
    gates: _DenseLayer  # reset, then update: of inputs and state, (D + H) -> 2H
    candidate_of_inputs: _DenseLayer  # D -> H
    candidate_of_state: _DenseLayer  # H -> H
    vector: _DenseLayer  # of state and embedded item or query, (H + D) -> D


class _ActionColumns(NamedTuple):
    """Actions of users, as the network reads them: a row of each table, but for a search's words."""

    items: Integers  # (N,)
    searches: NDArray[np.bool_]  # (N,)
    words: Integers  # (N, W)
    contexts: Integers  # (N, C)
    users: Integers  # (N,) rows of the hidden states


class CompiledStep:
    """Steps users whose hidden states are half precision numbers on the CPU."""

    def __init__(self, network: Network) -> None:
        """Copies the weights of a network of `GRU` on the CPU."""
        self._width, self._layers = network.config.width, _layers_of(network)

    def step(self, tokens: Tokens, users: Tensor, cuts: Integers, hidden: Tensor) -> Tensor:
        """See `Stepper.step`."""
        vectors = torch.empty(len(users), self._width)
        actions = _ActionColumns(
            items=tokens.items.numpy(),
            searches=tokens.searches.numpy(),
            words=tokens.words.numpy(),
            contexts=tokens.contexts.numpy(),
            users=users.numpy(),
        )
        _step(self._layers, actions, cuts, hidden.numpy().view(np.uint16), vectors.numpy())
        return vectors


@torch.no_grad()
def _layers_of(network: Network) -> _Layers:
    assert isinstance(network.backbone, GRU)
    into, within, into_bias, within_bias = network.backbone.gru.all_weights[0]
    gates = 2 * network.backbone.output_size
    return _Layers(
        items=network.items.weight.contiguous().numpy(),
        words=network.words.weight.contiguous().numpy(),
        words_read=WORDS_READ[network.config.word_rows],
        contexts=network.contexts.weight.contiguous().numpy(),
        gates=_dense(torch.cat((into, within), 1)[:gates], (into_bias + within_bias)[:gates]),
        candidate_of_inputs=_dense(into[gates:], into_bias[gates:]),
        candidate_of_state=_dense(within[gates:], within_bias[gates:]),
        vector=_dense(network.vector.weight, network.vector.bias),
    )


def _dense(weights: Tensor, biases: Tensor) -> _DenseLayer:
    units, inputs = weights.shape
    padded = torch.zeros(-(-units // _TILE) * _TILE, inputs + 1)
    padded[:units, :inputs], padded[:units, inputs] = weights, biases
    tiles = padded[:, :inputs].view(-1, _TILE, inputs).transpose(1, 2)
    return _DenseLayer(tiles.contiguous().numpy(), padded[:, inputs].contiguous().numpy())


def _block(users: int) -> Any:
    """An intrinsic that computes a tile's units for so many users.

    It takes a tile (I, _TILE), biases (_TILE,) and inputs (users, I), and fills in (users, _TILE). The rows of users
    are contiguous.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(_: Any, tile: Any, biases: Any, inputs: Any, units: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            tile, biases, inputs, units = arrays_of(context, builder, signature, arguments)
            sums = [[cgutils.alloca_once(builder, FLOATS) for _ in range(_VECTORS)] for _ in range(users)]
            for of_user in sums:
                for n, total in enumerate(of_user):
                    builder.store(load(builder, biases, 0, LANES * n, FLOATS), total)
            with cgutils.for_range(builder, builder.extract_value(inputs.shape, 1), intp=LONG) as loop:
                weights = [load(builder, tile, loop.index, LANES * n, FLOATS) for n in range(_VECTORS)]
                for number, of_user in enumerate(sums):
                    value = splat(builder, load(builder, inputs, number, loop.index, FLOAT), LANES)
                    for weight, total in zip(weights, of_user, strict=True):
                        product = builder.fmul(weight, value, flags=FAST)
                        builder.store(builder.fadd(builder.load(total), product, flags=FAST), total)
            for number, of_user in enumerate(sums):
                for n, total in enumerate(of_user):
                    store(builder, builder.load(total), units, number, LANES * n)
            return context.get_dummy_value()

        return types.void(tile, biases, inputs, units), code

    return multiply


_four, _one = _block(_USERS), _block(1)


@intrinsic  # type: ignore[untyped-decorator]
def _widened(_: Any, bits: Any) -> tuple[Any, Callable[..., Any]]:
    """Widens the bits of a half precision number to a float32."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), FLOAT)

    return types.float32(types.uint16), code


@intrinsic  # type: ignore[untyped-decorator]
def _narrowed(_: Any, number: Any) -> tuple[Any, Callable[..., Any]]:
    """Rounds a float32 to the nearest half precision number; returns its bits."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code


@compiled
def _multiply(dense: _DenseLayer, inputs: Floats, units: Floats) -> None:
    """Fills in a layer's units (M, U) for inputs (M, I)."""
    whole = len(inputs) // _USERS * _USERS
    for number in range(len(dense.tiles)):
        begin, end = number * _TILE, (number + 1) * _TILE
        tile, biases = dense.tiles[number], dense.biases[begin:end]
        for n in range(0, whole, _USERS):
            _four(tile, biases, inputs[n : n + _USERS], units[n : n + _USERS, begin:end])
        for n in range(whole, len(inputs)):
            _one(tile, biases, inputs[n : n + 1], units[n : n + 1, begin:end])


@compiled
def _step(
    layers: _Layers,
    actions: _ActionColumns,
    cuts: Integers,
    hidden: NDArray[np.uint16],
    vectors: Floats,
) -> None:
    """Fills in vectors (N, D) and changes the hidden states (S, H)."""
    width, size = vectors.shape[1], hidden.shape[1]
    rows = np.empty((_AT_ONCE, width + size + width), np.float32)  # inputs, state, embedded item or query
    gates = np.empty((_AT_ONCE, len(layers.gates.biases)), np.float32)
    of_inputs = np.empty((_AT_ONCE, len(layers.candidate_of_inputs.biases)), np.float32)
    of_state = np.empty((_AT_ONCE, len(layers.candidate_of_state.biases)), np.float32)
    outputs = np.empty((_AT_ONCE, len(layers.vector.biases)), np.float32)
    for number in range(len(cuts) - 1):
        for begin in range(cuts[number], cuts[number + 1], _AT_ONCE):
            count = min(_AT_ONCE, cuts[number + 1] - begin)
            for n in range(count):
                action = begin + n
                embedded, inputs = rows[n, width + size :], rows[n, :width]
                _embed(layers, actions.items[action], actions.searches[action], actions.words[action], embedded)
                _add_context(layers.contexts, actions.contexts[action], embedded, inputs)
                for h in range(size):
                    rows[n, width + h] = _widened(hidden[actions.users[action], h])
            _multiply(layers.gates, rows[:count, : width + size], gates)
            _multiply(layers.candidate_of_inputs, rows[:count, :width], of_inputs)
            _multiply(layers.candidate_of_state, rows[:count, width : width + size], of_state)
            for n in range(count):
                state, bits = rows[n, width : width + size], hidden[actions.users[begin + n]]
                _update(gates[n], of_inputs[n], of_state[n], state)
                for h in range(size):
                    bits[h] = _narrowed(state[h])
            _multiply(layers.vector, rows[:count, width:], outputs)
            for n in range(count):
                vectors[begin + n] = outputs[n, :width]


@compiled
def _embed(layers: _Layers, item: int, search: bool, words: Integers, embedded: Floats) -> None:
    """Fills in the item's row, or the mean of the rows of the query's words (0: not a word)."""
    if not search:
        embedded[:] = layers.items[item]
        return
    embedded[:] = np.float32(0)
    count = 0
    for word in words[: layers.words_read]:
        if word:
            count += 1
            row = layers.words[1 + (word - 1) % (len(layers.words) - 1)]
            for d in range(len(embedded)):
                embedded[d] += row[d]
    for d in range(len(embedded)):
        embedded[d] /= np.float32(max(count, 1))


@compiled
def _add_context(table: Floats, rows: Integers, embedded: Floats, inputs: Floats) -> None:
    """Fills in the inputs: the sum of the embedded item or query and of the context's rows."""
    inputs[:] = embedded
    for number in rows:
        row = table[number]
        for d in range(len(inputs)):
            inputs[d] += row[d]


@compiled
def _update(gates: Floats, of_inputs: Floats, of_state: Floats, state: Floats) -> None:
    """Updates a user's state (H,); the update gate says how much of the old one stays."""
    reset, update = gates[: len(state)], gates[len(state) :]
    for h in range(len(state)):
        total = of_inputs[h] + _sigmoid(reset[h]) * of_state[h]
        candidate = np.float32(2) * _sigmoid(np.float32(2) * total) - np.float32(1)  # the hyperbolic tangent
        state[h] = candidate + _sigmoid(update[h]) * (state[h] - candidate)


@compiled
def _sigmoid(x: np.float32) -> np.float32:
    raised = x if x > -_FARTHEST else -_FARTHEST
    bounded = raised if raised < _FARTHEST else _FARTHEST
    # Numba's own division checks for a zero each time, and a loop with such a branch is not vectorised.
    return np.divide(np.float32(1), np.float32(1) + fast_exp(-bounded))  # type: ignore[no-any-return]
