"""A step of gated recurrent units on the CPU, from tokens to vectors, in one compiled call.

PyTorch takes a dozen operations for it, each of which costs more than a few users' arithmetic and waits for the
interpreter, which others hold, before the next one. Here a batch is stepped without it. The products of matrices are
made of blocks: sums of a few users and of the units of a tile stay in registers while the inputs pass by.
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
from model.kernels.compiled import compiled
from model.kernels.fast_math import fast_exp
from model.kernels.simd import arrays_of, element, splat
from model.network.backbones import GRU
from model.network.network import Network

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_AT_ONCE: Final = 64  # M at most: what a step makes of them stays in the processor's caches
_USERS: Final = 4  # of a block
_LANES: Final = 16  # of a vector
_VECTORS: Final = 4  # of a tile's row
_TILE: Final = _LANES * _VECTORS  # units
_BYTES: Final = 4  # of a float32
_FAST: Final = ("contract", "reassoc")
_FARTHEST: Final = np.float32(40)  # from zero, where a gate is open or closed for good


class _Dense(NamedTuple):
    """A linear layer; what its units lack to whole tiles is zero."""

    tiles: Floats  # (U / _TILE, I, _TILE)
    biases: Floats  # (U,)


class _Layers(NamedTuple):
    """All weights of a step. The gates are as in PyTorch's `GRUCell`."""

    items: Floats  # (rows, D)
    words: Floats  # (rows, D)
    contexts: Floats  # (rows, D)
    gates: _Dense  # reset, then update: of inputs and state, (D + H) -> 2H
    candidate_of_inputs: _Dense  # D -> H
    candidate_of_state: _Dense  # H -> H
    vector: _Dense  # of state and what was touched, (H + D) -> D


class CompiledStep:
    """Steps users whose hidden states are half precision numbers on the CPU."""

    def __init__(self, network: Network) -> None:
        """For a network of `GRU`, on the CPU."""
        self._width, self._layers = network.config.width, _layers_of(network)

    def step(self, tokens: Tokens, users: Tensor, cuts: Integers, hidden: Tensor) -> Tensor:
        """See `Stepper.step`."""
        vectors = torch.empty(len(users), self._width)
        _step(
            self._layers,
            tokens.items.numpy(),
            tokens.searches.numpy(),
            tokens.words.numpy(),
            tokens.contexts.numpy(),
            users.numpy(),
            cuts,
            hidden.numpy().view(np.uint16),
            vectors.numpy(),
        )
        return vectors


@torch.no_grad()
def _layers_of(network: Network) -> _Layers:
    assert isinstance(network.backbone, GRU)
    into, within, into_bias, within_bias = network.backbone.gru.all_weights[0]
    gates = 2 * network.backbone.output_size
    return _Layers(
        items=network.items.weight.contiguous().numpy(),
        words=network.words.weight.contiguous().numpy(),
        contexts=network.contexts.weight.contiguous().numpy(),
        gates=_dense(torch.cat((into, within), 1)[:gates], (into_bias + within_bias)[:gates]),
        candidate_of_inputs=_dense(into[gates:], into_bias[gates:]),
        candidate_of_state=_dense(within[gates:], within_bias[gates:]),
        vector=_dense(network.vector.weight, network.vector.bias),
    )


def _dense(weights: Tensor, biases: Tensor) -> _Dense:
    units, inputs = weights.shape
    padded = torch.zeros(-(-units // _TILE) * _TILE, inputs + 1)
    padded[:units, :inputs], padded[:units, inputs] = weights, biases
    tiles = padded[:, :inputs].view(-1, _TILE, inputs).transpose(1, 2)
    return _Dense(tiles.contiguous().numpy(), padded[:, inputs].contiguous().numpy())


def _block(users: int) -> Any:
    """A tile's units for so many users: an intrinsic for a tile (I, _TILE), biases (_TILE,), inputs (users, I) and what
    it fills in, (users, _TILE). What belongs to a user has no gaps."""

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(_: Any, tile: Any, biases: Any, inputs: Any, units: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            tile, biases, inputs, units = arrays_of(context, builder, signature, arguments)
            long, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)

            def load(array: Any, row: Any, column: Any, kind: Any) -> Any:
                return builder.load(element(builder, array, row, column, kind), align=_BYTES)

            sums = [[cgutils.alloca_once(builder, vector) for _ in range(_VECTORS)] for _ in range(users)]
            for of_user in sums:
                for n, total in enumerate(of_user):
                    builder.store(load(biases, 0, _LANES * n, vector), total)
            with cgutils.for_range(builder, builder.extract_value(inputs.shape, 1), intp=long) as loop:
                weights = [load(tile, loop.index, _LANES * n, vector) for n in range(_VECTORS)]
                for number, of_user in enumerate(sums):
                    value = splat(builder, load(inputs, number, loop.index, ir.FloatType()), _LANES)
                    for weight, total in zip(weights, of_user, strict=True):
                        product = builder.fmul(weight, value, flags=_FAST)
                        builder.store(builder.fadd(builder.load(total), product, flags=_FAST), total)
            for number, of_user in enumerate(sums):
                for n, total in enumerate(of_user):
                    place = element(builder, units, number, _LANES * n, vector)
                    builder.store(builder.load(total), place, align=_BYTES)
            return context.get_dummy_value()

        return types.void(tile, biases, inputs, units), code

    return multiply


_four, _one = _block(_USERS), _block(1)


@intrinsic  # type: ignore[untyped-decorator]
def _widened(_: Any, bits: Any) -> tuple[Any, Callable[..., Any]]:
    """The float32 of a half precision number's bits."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic  # type: ignore[untyped-decorator]
def _narrowed(_: Any, number: Any) -> tuple[Any, Callable[..., Any]]:
    """The bits of the half precision number that is next to a float32."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code


@compiled
def _multiply(dense: _Dense, inputs: Floats, units: Floats) -> None:
    """Fills in units (M, U) of inputs (M, I)."""
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
    items: Integers,
    searches: NDArray[np.bool_],
    words: Integers,
    contexts: Integers,
    users: Integers,
    cuts: Integers,
    hidden: NDArray[np.uint16],
    vectors: Floats,
) -> None:
    """Fills in vectors (N, D) and changes the hidden states (S, H)."""
    width, size = vectors.shape[1], hidden.shape[1]
    rows = np.empty((_AT_ONCE, width + size + width), np.float32)  # inputs, state, what was touched
    gates = np.empty((_AT_ONCE, len(layers.gates.biases)), np.float32)
    of_inputs = np.empty((_AT_ONCE, len(layers.candidate_of_inputs.biases)), np.float32)
    of_state = np.empty((_AT_ONCE, len(layers.candidate_of_state.biases)), np.float32)
    found = np.empty((_AT_ONCE, len(layers.vector.biases)), np.float32)
    for number in range(len(cuts) - 1):
        for begin in range(cuts[number], cuts[number + 1], _AT_ONCE):
            count = min(_AT_ONCE, cuts[number + 1] - begin)
            for n in range(count):
                action = begin + n
                touched, inputs = rows[n, width + size :], rows[n, :width]
                _touch(layers, items[action], searches[action], words[action], touched)
                _add_context(layers.contexts, contexts[action], touched, inputs)
                for h in range(size):
                    rows[n, width + h] = _widened(hidden[users[action], h])
            _multiply(layers.gates, rows[:count, : width + size], gates)
            _multiply(layers.candidate_of_inputs, rows[:count, :width], of_inputs)
            _multiply(layers.candidate_of_state, rows[:count, width : width + size], of_state)
            for n in range(count):
                state, bits = rows[n, width : width + size], hidden[users[begin + n]]
                _go_on(gates[n], of_inputs[n], of_state[n], state)
                for h in range(size):
                    bits[h] = _narrowed(state[h])
            _multiply(layers.vector, rows[:count, width:], found)
            for n in range(count):
                vectors[begin + n] = found[n, :width]


@compiled
def _touch(layers: _Layers, item: int, search: bool, words: Integers, touched: Floats) -> None:
    """Fills in the item's row, or the mean of the query's words (row 0 is none)."""
    if not search:
        touched[:] = layers.items[item]
        return
    touched[:] = np.float32(0)
    count = 0
    for word in words:
        if word:
            count += 1
            row = layers.words[word]
            for d in range(len(touched)):
                touched[d] += row[d]
    for d in range(len(touched)):
        touched[d] /= np.float32(max(count, 1))


@compiled
def _add_context(table: Floats, rows: Integers, touched: Floats, inputs: Floats) -> None:
    """Fills in the inputs: what was touched and the context's rows together."""
    inputs[:] = touched
    for number in rows:
        row = table[number]
        for d in range(len(inputs)):
            inputs[d] += row[d]


@compiled
def _go_on(gates: Floats, of_inputs: Floats, of_state: Floats, state: Floats) -> None:
    """Makes a user's state (H,) the next one; the update gate says how much of it stays."""
    reset, update = gates[: len(state)], gates[len(state) :]
    for h in range(len(state)):
        total = of_inputs[h] + _sigmoid(reset[h]) * of_state[h]
        candidate = np.float32(2) * _sigmoid(np.float32(2) * total) - np.float32(1)  # the hyperbolic tangent
        state[h] = candidate + _sigmoid(update[h]) * (state[h] - candidate)


@compiled
def _sigmoid(x: np.float32) -> np.float32:
    above = x if x > -_FARTHEST else -_FARTHEST
    kept = above if above < _FARTHEST else _FARTHEST
    # Numba's own division looks for a zero each time, which leaves no loop to make vectors of.
    return np.divide(np.float32(1), np.float32(1) + fast_exp(-kept))  # type: ignore[no-any-return]
