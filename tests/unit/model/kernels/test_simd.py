"""Steps of vector instructions, each compiled into a loop of its own: NumPy is the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic

from model.kernels.compiled import Floats, compiled
from model.kernels.simd import FLOAT, FLOATS, LANES, LONG, Intrinsic, arrays_of, load, splat, store


@intrinsic  # type: ignore[untyped-decorator]
def _copy_vector(_: Any, source: types.Array, row: types.Type, column: types.Type, target: types.Array) -> Intrinsic:
    """Copies LANES numbers, from an element of the source on, to the beginning of the target's row 1."""

    def code(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        source, row, column, target = arrays_of(context, builder, signature, arguments)
        store(builder, load(builder, source, row, column, FLOATS), target, 1, 0)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target), code


@intrinsic  # type: ignore[untyped-decorator]
def _splat_element(_: Any, source: types.Array, target: types.Array) -> Intrinsic:
    """Fills the target's row 0 with the source's third number, by its constant index."""

    def code(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        source, target = arrays_of(context, builder, signature, arguments)
        store(builder, splat(builder, load(builder, source, 0, LONG(2), FLOAT), LANES), target, 0, 0)
        return context.get_dummy_value()

    return types.void(source, target), code


@compiled
def copy_vector(source: Floats, row: int, column: int, target: Floats) -> None:
    _copy_vector(source, row, column, target)


@compiled
def splat_element(source: Floats, target: Floats) -> None:
    _splat_element(source, target)


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("column", [0, 3])
def test_an_element_is_found_by_row_and_column_in_a_part_of_a_matrix(row: int, column: int) -> None:
    whole = np.arange(6 * 40, dtype=np.float32).reshape(6, 40)
    source, target = whole[1::2, 5:], np.zeros((3, LANES), np.float32)  # rows lie apart, and begin anywhere
    copy_vector(source, row, column, target)
    np.testing.assert_array_equal(target[1], source[row, column : column + LANES])
    assert not target[[0, 2]].any()


def test_rows_of_one_dimension_are_its_elements() -> None:
    source, target = np.arange(40, dtype=np.float32), np.zeros((2, LANES), np.float32)
    copy_vector(source, 7, 0, target)
    np.testing.assert_array_equal(target[1], source[7 : 7 + LANES])
    copy_vector(source, 0, 9, target)
    np.testing.assert_array_equal(target[1], source[9 : 9 + LANES])


def test_a_splat_has_the_number_in_every_lane() -> None:
    target = np.zeros((2, LANES), np.float32)
    splat_element(np.arange(5, dtype=np.float32), target)
    assert (target[0] == 2).all()
    assert not target[1].any()
