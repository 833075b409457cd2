"""The combiner in a compiled loop: it scores candidates while their features are still in the nearest cache.

PyTorch would write each layer's units of a batch's candidates to memory and read them again, which takes as long as
computing them. Here a layer's sums of a few units and a few vectors of candidates are kept in registers, which no loop
that compilers vectorise by themselves was seen to do: so the innermost loops are built from LLVM's vector instructions.
Two kinds of products are left out: features of the answer are the same for all of its candidates, and those of the
user's own items are zero for most of them.

Shapes: C candidates of an answer, F features, H units of a hidden layer, V candidates at a time (`_AT_ONCE`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from model.fusion.candidate_features import ANSWER_FEATURES, FEATURES, OWN, OWN_ITEM_FEATURES
from model.fusion.combiner import HIDDEN, Combiner
from model.kernels.compiled import FAST, Floats, compiled, uncounted
from model.kernels.simd import ELEMENT, FLOATS, LANES, LONG, arrays_of, load, splat, store

# Of a layer so many units of so many vectors of candidates are computed at a time: their 16 sums keep a processor busy
# until the first one is there, and each weight is read once for all the vectors. 8 units of one vector took a third
# longer, 4 units of three or 8 of two a tenth.
_UNITS: Final = 4
_VECTORS: Final = 4
_AT_ONCE: Final = _VECTORS * LANES
_WITH_OWN: Final = tuple(row for row in range(len(FEATURES)) if row not in ANSWER_FEATURES)
_WITHOUT_OWN: Final = tuple(row for row in _WITH_OWN if row not in OWN_ITEM_FEATURES)


class CombinerWeights(NamedTuple):
    """The weights of a combiner as arrays."""

    first: Floats  # (H, F)
    first_bias: Floats  # (H,)
    second: Floats  # (H, H)
    second_bias: Floats  # (H,)
    last: Floats  # (1, H)
    last_bias: Floats  # (1,)
    linear: Floats  # (1, F)
    linear_bias: Floats  # (1,) zero, as the layer has none
    none_logit: Floats  # (1,)


@torch.no_grad()
def combiner_weights(combiner: Combiner) -> CombinerWeights:
    """Returns a combiner's weights as they are now."""
    layers = (combiner.first, combiner.second, combiner.last)
    tensors = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    tensors += [combiner.linear.weight, torch.zeros(1), combiner.none_logit]
    return CombinerWeights(*(tensor.contiguous().numpy() for tensor in tensors))


def _layer_block(inputs: int, units: int, *, rectified: bool, rows: Sequence[int] | None = None) -> Any:
    """Makes an intrinsic that computes some units of a layer for V candidates.

    It takes weights (units, inputs) and biases (units,), each without gaps, reads inputs (inputs, V) and fills in
    outputs (units, V). Only the inputs `rows` count; by default all do.
    """

    starts = range(0, _AT_ONCE, LANES)

    @intrinsic  # type: ignore[untyped-decorator]
    def add_up(_: Any, weights: Any, biases: Any, source: Any, target: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            weights, biases, source, target = arrays_of(context, builder, signature, arguments)

            def repeated(array: Any, index: int) -> Any:
                """Loads a number into all V lanes."""
                one = builder.load(builder.gep(array.data, [LONG(index)]), align=ELEMENT)
                return splat(builder, one, LANES)

            sums = {(unit, start): repeated(biases, unit) for unit in range(units) for start in starts}
            for row in range(inputs) if rows is None else rows:
                values = {start: load(builder, source, row, start, FLOATS) for start in starts}
                for unit in range(units):
                    weight = repeated(weights, unit * inputs + row)
                    for start in starts:
                        product = builder.fmul(weight, values[start], flags=FAST)
                        sums[unit, start] = builder.fadd(sums[unit, start], product, flags=FAST)
            zeros = ir.Constant(FLOATS, None)
            for (unit, start), total in sums.items():
                positive = builder.fcmp_ordered(">", total, zeros)
                output = builder.select(positive, total, zeros) if rectified else total
                store(builder, output, target, unit, start)
            return context.get_dummy_value()

        return types.void(weights, biases, source, target), code

    return add_up


_first_block_with_own = _layer_block(len(FEATURES), _UNITS, rectified=True, rows=_WITH_OWN)
_linear_with_own = _layer_block(len(FEATURES), 1, rectified=False, rows=_WITH_OWN)
_first_block = _layer_block(len(FEATURES), _UNITS, rectified=True, rows=_WITHOUT_OWN)
_linear = _layer_block(len(FEATURES), 1, rectified=False, rows=_WITHOUT_OWN)
_second_block = _layer_block(HIDDEN, _UNITS, rectified=True)
_last = _layer_block(HIDDEN, 1, rectified=False)


@compiled
def score_candidates(features: Floats, weights: CombinerWeights, scores: Floats) -> None:
    """Fills in the scores (C,) of an answer's candidates with these features (F, C), each feature's without gaps."""
    if not len(scores):
        return
    weights = _with_answer(features, weights)
    rest = np.zeros((len(FEATURES), _AT_ONCE), np.float32)
    units, outputs = np.empty((2, HIDDEN, _AT_ONCE), np.float32), np.empty((2, 1, _AT_ONCE), np.float32)
    for begin in range(0, len(scores), _AT_ONCE):
        count = min(_AT_ONCE, len(scores) - begin)
        if count == _AT_ONCE:
            _score_some(features[:, begin : begin + _AT_ONCE], weights, units, outputs)
        else:
            rest[:, :count] = features[:, begin:]
            _score_some(rest, weights, units, outputs)
        for lane in range(count):
            scores[begin + lane] = outputs[0, 0, lane] + outputs[1, 0, lane]


@compiled
def _with_answer(features: Floats, weights: CombinerWeights) -> CombinerWeights:
    """Returns the weights for an answer, with what its features add in the biases."""
    return CombinerWeights(
        weights.first,
        _biases_with_answer(features, weights.first, weights.first_bias),
        weights.second,
        weights.second_bias,
        weights.last,
        weights.last_bias,
        weights.linear,
        _biases_with_answer(features, weights.linear, weights.linear_bias),
        weights.none_logit,
    )


@compiled
def _biases_with_answer(features: Floats, weights: Floats, biases: Floats) -> Floats:
    """Returns biases plus what the features of the answer add to each unit."""
    totals = biases.copy()
    for row in ANSWER_FEATURES:
        for unit in range(len(totals)):
            totals[unit] += weights[unit, row] * features[row, 0]
    return totals


@uncounted
def _score_some(features: Floats, weights: CombinerWeights, units: Floats, outputs: Floats) -> None:
    """Fills in the two summands of V candidates' scores: `outputs` by way of the hidden `units`, and directly."""
    first, second = units
    if _has_own(features[OWN]):
        for unit in range(0, HIDDEN, _UNITS):
            block = slice(unit, unit + _UNITS)
            _first_block_with_own(weights.first[block], weights.first_bias[block], features, first[block])
        _linear_with_own(weights.linear, weights.linear_bias, features, outputs[1])
    else:
        for unit in range(0, HIDDEN, _UNITS):
            block = slice(unit, unit + _UNITS)
            _first_block(weights.first[block], weights.first_bias[block], features, first[block])
        _linear(weights.linear, weights.linear_bias, features, outputs[1])
    for unit in range(0, HIDDEN, _UNITS):
        block = slice(unit, unit + _UNITS)
        _second_block(weights.second[block], weights.second_bias[block], first, second[block])
    _last(weights.last, weights.last_bias, second, outputs[0])


@uncounted
def _has_own(own: Floats) -> bool:
    """Tells whether any of V candidates is one of the user's own items."""
    total = np.float32(0)
    for index in range(_AT_ONCE):
        total += own[index]
    return bool(total > 0)
