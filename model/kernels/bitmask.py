"""Which of many numbers reach a threshold, as bits of an integer: what compiled loops look for a few places with.

A loop that tests one number after the other guesses wrongly at each that does; here 64 are compared by as many vector
instructions as it takes, and only the bits that are set are walked along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from model.kernels.simd import splat

WIDTH: Final = 64  # numbers at a time
_BYTES: Final = 4  # of a float32
_FLOATS: Final = ir.VectorType(ir.FloatType(), WIDTH)
_MASK: Final = ir.IntType(WIDTH)


def _compared(how: str) -> Any:
    """Of the WIDTH numbers from a start on in float32 values without gaps: the bits of those that compare so with a
    threshold."""

    @intrinsic  # type: ignore[untyped-decorator]
    def compare(_: Any, values: Any, start: Any, threshold: Any) -> tuple[Any, Callable[..., Any]]:
        def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            address = builder.bitcast(builder.gep(array.data, [arguments[1]]), _FLOATS.as_pointer())
            values, thresholds = builder.load(address, align=_BYTES), splat(builder, arguments[2], WIDTH)
            return builder.bitcast(builder.fcmp_ordered(how, values, thresholds), _MASK)

        return types.uint64(values, types.int64, types.float32), code

    return compare


mask_ge, mask_gt = _compared(">="), _compared(">")


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(_: Any, mask: Any) -> tuple[Any, Callable[..., Any]]:
    """The place of the lowest bit that is set in a mask; there must be one."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def popcount(_: Any, mask: Any) -> tuple[Any, Callable[..., Any]]:
    """How many are set in a mask."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code
