"""Approximates the exponential and the logarithm without a branch, a table or a call, so that loops become vectors.

A float32 is a power of two, whose exponent is in its bits from bit 23 on, times a significand (IEEE 754). Powers of two
are put in and taken out by these bits; what is left of either function is a polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

from model.kernels.compiled import compiled
from model.kernels.simd import FLOAT, INT, Intrinsic

_EXPONENT_BIT: Final = 23  # the lowest bit of the exponent
_LOG2_E: Final = np.float32(math.log2(math.e))
_LN_2: Final = np.float32(math.log(2))
_LOWEST_SIGNIFICAND: Final = math.sqrt(0.5)  # significands from here to twice as much lie around one
_LOWEST_BITS: Final = int(np.float32(_LOWEST_SIGNIFICAND).view(np.int32))


def _polynomial(function: Callable[[Any], Any], degree: int, begin: float, end: float) -> tuple[np.float32, ...]:
    """Returns the coefficients, of rising powers, of a polynomial that is near to a function between two numbers."""
    polynomial = Chebyshev.interpolate(function, degree, domain=[begin, end])
    return tuple(polynomial.convert(kind=Polynomial).coef.astype(np.float32))


_E0, _E1, _E2, _E3, _E4 = _polynomial(np.exp2, 4, -0.5, 0.5)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = _polynomial(
    lambda x: np.log1p(x) / x, 7, _LOWEST_SIGNIFICAND - 1, 2 * _LOWEST_SIGNIFICAND - 1
)


@intrinsic  # type: ignore[untyped-decorator]
def _times_power_of_two(_: Any, number: types.Type, exponent: types.Type) -> Intrinsic:
    """Returns `number` times 2^`exponent`, both float32: a whole exponent that leaves the product a normal number."""

    def code(_: BaseContext, builder: ir.IRBuilder, __: Signature, arguments: Sequence[ir.Value]) -> ir.Value:
        number, exponent = arguments
        power = builder.shl(builder.fptosi(exponent, INT), INT(_EXPONENT_BIT))
        return builder.bitcast(builder.add(builder.bitcast(number, INT), power), FLOAT)

    return types.float32(number, exponent), code


@intrinsic  # type: ignore[untyped-decorator]
def _exponent_of(_: Any, number: types.Type) -> Intrinsic:
    """Returns the n of a positive normal float32 that is 2^n times a significand from _LOWEST_SIGNIFICAND on."""

    def code(_: BaseContext, builder: ir.IRBuilder, __: Signature, arguments: Sequence[ir.Value]) -> ir.Value:
        bits = builder.sub(builder.bitcast(arguments[0], INT), INT(_LOWEST_BITS))
        return builder.sitofp(builder.ashr(bits, INT(_EXPONENT_BIT)), FLOAT)

    return types.float32(number), code


@compiled
def fast_exp(x: np.float32) -> np.float32:
    """Returns exp(x) to a relative 1e-5, for x from -87 to 88."""
    scaled = x * _LOG2_E
    whole = np.rint(scaled)
    rest = scaled - whole
    significand = _E0 + rest * (_E1 + rest * (_E2 + rest * (_E3 + rest * _E4)))
    return _times_power_of_two(significand, whole)  # type: ignore[no-any-return]


@compiled
def fast_log(x: np.float32) -> np.float32:
    """Returns log(x) to 1e-6, or to a relative 1e-6 where it is larger than one, for normal numbers above zero."""
    exponent = _exponent_of(x)
    rest = _times_power_of_two(x, -exponent) - np.float32(1)
    high = _L4 + rest * (_L5 + rest * (_L6 + rest * _L7))
    log_of_rest = rest * (_L0 + rest * (_L1 + rest * (_L2 + rest * (_L3 + rest * high))))
    return exponent * _LN_2 + log_of_rest  # type: ignore[no-any-return]
