"""The combiner in a compiled loop: it scores candidates while their features are still in the nearest cache.

PyTorch would write each layer's units of a batch's candidates to memory and read them again, which takes as long as
computing them. Here a layer's sums of a few units and as many candidates as fit a vector are kept in registers, which
no loop that compilers vectorise by themselves was seen to do: so the innermost part is put together from vector
instructions, which LLVM makes the processor's own of.
What need not be multiplied is not: features of the answer are the same for all of its candidates, and those of the
user's own items are zero for most of them.

Shapes: C candidates of an answer, F features, H units of a hidden layer, V candidates of a vector (`LANES`).
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
from model.kernels.compiled import FAST, Floats, compiled
from model.kernels.simd import ELEMENT, FLOATS, LANES, LONG, arrays_of, element, splat

_UNITS: Final = 8  # of a layer at a time: with 4 and with 16 it took a little longer
_WITH_OWN: Final = tuple(row for row in range(len(FEATURES)) if row not in ANSWER_FEATURES)
_WITHOUT_OWN: Final = tuple(row for row in _WITH_OWN if row not in OWN_ITEM_FEATURES)


class CombinerWeights(NamedTuple):
    """Those of a combiner."""

    first: Floats  # (H, F)
    first_bias: Floats  # (H,)
    second: Floats  # (H, H)
    second_bias: Floats  # (H,)
    last: Floats  # (1, H)
    last_bias: Floats  # (1,)
    linear: Floats  # (1, F)
    linear_bias: Floats  # (1,) zero: it has none


@torch.no_grad()
def combiner_weights(combiner: Combiner) -> CombinerWeights:
    """A combiner's weights as they are now."""
    layers = (combiner.first, combiner.second, combiner.last)
    tensors = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    tensors += [combiner.linear.weight, torch.zeros(1)]
    return CombinerWeights(*(tensor.contiguous().numpy() for tensor in tensors))


def _layer_part(inputs: int, units: int, *, rectified: bool, of: Sequence[int] | None = None) -> Any:
    """Adds up some units of a layer for V candidates: an intrinsic that takes weights (units, inputs) and biases
    (units,), each without gaps, from rows (inputs, V) and fills in others (units, V). `of` are the inputs that count;
    by default all do."""

    @intrinsic  # type: ignore[untyped-decorator]
    def add_up(_: Any, weights: Any, biases: Any, source: Any, target: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            weights, biases, source, target = arrays_of(context, builder, signature, arguments)

            def number(array: Any, place: int) -> Any:
                """The same number V times."""
                one = builder.load(builder.gep(array.data, [LONG(place)]), align=ELEMENT)
                return splat(builder, one, LANES)

            sums = [number(biases, unit) for unit in range(units)]
            for place in range(inputs) if of is None else of:
                values = builder.load(element(builder, source, place, 0, FLOATS), align=ELEMENT)
                for unit in range(units):
                    product = builder.fmul(number(weights, unit * inputs + place), values, flags=FAST)
                    sums[unit] = builder.fadd(sums[unit], product, flags=FAST)
            nothing = ir.Constant(FLOATS, None)
            for unit, total in enumerate(sums):
                positive = builder.fcmp_ordered(">", total, nothing)
                found = builder.select(positive, total, nothing) if rectified else total
                builder.store(found, element(builder, target, unit, 0, FLOATS), align=ELEMENT)
            return context.get_dummy_value()

        return types.void(weights, biases, source, target), code

    return add_up


_own_first_part = _layer_part(len(FEATURES), _UNITS, rectified=True, of=_WITH_OWN)
_own_linear_part = _layer_part(len(FEATURES), 1, rectified=False, of=_WITH_OWN)
_first_part = _layer_part(len(FEATURES), _UNITS, rectified=True, of=_WITHOUT_OWN)
_linear_part = _layer_part(len(FEATURES), 1, rectified=False, of=_WITHOUT_OWN)
_second_part = _layer_part(HIDDEN, _UNITS, rectified=True)
_last_part = _layer_part(HIDDEN, 1, rectified=False)


@compiled
def score_candidates(features: Floats, weights: CombinerWeights, scores: Floats) -> None:
    """Fills in the scores (C,) of an answer's candidates with these features (F, C), each feature's without gaps."""
    if not len(scores):
        return
    weights = _of_answer(features, weights)
    rest = np.zeros((len(FEATURES), LANES), np.float32)
    units, found = np.empty((2, HIDDEN, LANES), np.float32), np.empty((2, 1, LANES), np.float32)
    for begin in range(0, len(scores), LANES):
        count = min(LANES, len(scores) - begin)
        if count == LANES:
            _weigh_vector(features[:, begin : begin + LANES], weights, units, found)
        else:
            rest[:, :count] = features[:, begin:]
            _weigh_vector(rest, weights, units, found)
        for place in range(count):
            scores[begin + place] = found[0, 0, place] + found[1, 0, place]


@compiled
def _of_answer(features: Floats, weights: CombinerWeights) -> CombinerWeights:
    """Weights for this answer: what its own features add is part of the biases."""
    return CombinerWeights(
        weights.first,
        _with_answer(features, weights.first, weights.first_bias),
        weights.second,
        weights.second_bias,
        weights.last,
        weights.last_bias,
        weights.linear,
        _with_answer(features, weights.linear, weights.linear_bias),
    )


@compiled
def _with_answer(features: Floats, weights: Floats, biases: Floats) -> Floats:
    """Biases with what features of the answer add to them."""
    found = biases.copy()
    for row in ANSWER_FEATURES:
        for unit in range(len(found)):
            found[unit] += weights[unit, row] * features[row, 0]
    return found


@compiled
def _weigh_vector(features: Floats, weights: CombinerWeights, units: Floats, found: Floats) -> None:
    """Of V candidates, from features (F, V) to what of their scores comes by way of the `units` and what directly."""
    first, second = units
    if _has_own(features[OWN]):
        for unit in range(0, HIDDEN, _UNITS):
            part = slice(unit, unit + _UNITS)
            _own_first_part(weights.first[part], weights.first_bias[part], features, first[part])
        _own_linear_part(weights.linear, weights.linear_bias, features, found[1])
    else:
        for unit in range(0, HIDDEN, _UNITS):
            part = slice(unit, unit + _UNITS)
            _first_part(weights.first[part], weights.first_bias[part], features, first[part])
        _linear_part(weights.linear, weights.linear_bias, features, found[1])
    for unit in range(0, HIDDEN, _UNITS):
        part = slice(unit, unit + _UNITS)
        _second_part(weights.second[part], weights.second_bias[part], first, second[part])
    _last_part(weights.last, weights.last_bias, second, found[0])


@compiled
def _has_own(own: Floats) -> bool:
    """Whether any of V candidates is one of the user's own items."""
    total = np.float32(0)
    for place in range(LANES):
        total += own[place]
    return bool(total > 0)
