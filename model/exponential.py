"""The exponential, for compiled loops: without a branch, a table or a call, so that such a loop becomes vectors.

exp(x) = 2^n 2^f, where n is the whole number nearest to x log2(e). 2^f is a polynomial in f; 2^n goes straight into the
exponent's bits (IEEE 754), whose place in a float32 is from bit 23 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

from model.compiled import compiled

_DEGREE: Final = 4  # within 1e-5 of the value
_EXPONENT_FROM: Final = 23
_INT: Final = ir.IntType(32)
_LOG2_E: Final = np.float32(math.log2(math.e))
_P0, _P1, _P2, _P3, _P4 = (
    Chebyshev.interpolate(np.exp2, _DEGREE, domain=[-0.5, 0.5]).convert(kind=Polynomial).coef.astype(np.float32)
)


@intrinsic  # type: ignore[untyped-decorator]
def _times_power_of_two(_: Any, number: Any, exponent: Any) -> tuple[Any, Callable[..., Any]]:
    """`number` times 2^`exponent`, both float32; a whole exponent that leaves the product a normal number."""

    def code(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        number, exponent = arguments
        power = builder.shl(builder.fptosi(exponent, _INT), _INT(_EXPONENT_FROM))
        return builder.bitcast(builder.add(builder.bitcast(number, _INT), power), ir.FloatType())

    return types.float32(number, exponent), code


@compiled
def exponential(x: np.float32) -> np.float32:
    """exp(x) within 1e-5 of it, for x from -87 to 88."""
    scaled = x * _LOG2_E
    whole = np.rint(scaled)
    rest = scaled - whole
    significand = _P0 + rest * (_P1 + rest * (_P2 + rest * (_P3 + rest * _P4)))
    return _times_power_of_two(significand, whole)  # type: ignore[no-any-return]
