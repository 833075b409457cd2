"""Compares 64 numbers with a threshold at once; the outcome is a 64-bit mask, whose set bits a loop walks along.

A loop that tests one number after the other guesses the branch wrongly at each one that passes. Here a few vector
instructions compare all, and only what passes is visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic

from model.kernels.simd import ELEMENT, FLOAT, Intrinsic, splat

WIDTH: Final = 64  # numbers that are compared at once, and bits of a mask
_NUMBERS: Final = ir.VectorType(FLOAT, WIDTH)
_MASK: Final = ir.IntType(WIDTH)


def _comparison(operator: str) -> Any:
    """Returns an intrinsic that compares WIDTH float32 values, from a start on and without gaps, with a threshold.

    Bit n of the mask is set where `values[start + n] operator threshold` holds; it never does for NaN.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def compare(_: Any, values: types.Array, start: types.Type, threshold: types.Type) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
        ) -> ir.Value:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            address = builder.bitcast(builder.gep(array.data, [arguments[1]]), _NUMBERS.as_pointer())
            numbers, thresholds = builder.load(address, align=ELEMENT), splat(builder, arguments[2], WIDTH)
            return builder.bitcast(builder.fcmp_ordered(operator, numbers, thresholds), _MASK)

        return types.uint64(values, types.int64, types.float32), code

    return compare


mask_ge, mask_gt = _comparison(">="), _comparison(">")


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(_: Any, mask: types.Type) -> Intrinsic:
    """Returns the number of a mask's lowest set bit; one must be set."""

    def code(_: BaseContext, builder: ir.IRBuilder, __: Signature, arguments: Sequence[ir.Value]) -> ir.Value:
        zero_is_undefined = ir.IntType(1)(1)
        return builder.cttz(arguments[0], zero_is_undefined)

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def popcount(_: Any, mask: types.Type) -> Intrinsic:
    """Returns how many bits of a mask are set."""

    def code(_: BaseContext, builder: ir.IRBuilder, __: Signature, arguments: Sequence[ir.Value]) -> ir.Value:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code
