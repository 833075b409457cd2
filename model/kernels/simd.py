"""LLVM's vector instructions, as the loops write them that no compiler makes vectors of: their types and common steps.

Numba compiles Python loops by way of LLVM, which finds vector instructions for most of them. Where it does not, we
write the instructions in an *intrinsic*: a function that numba calls while it compiles a loop, not while the loop runs.
It sees no numbers, only handles (`ir.Value`) of what will be numbers then; each method of the builder appends one
instruction and returns the handle of its result. https://llvm.org/docs/LangRef.html describes the instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing import Signature

INT: Final = ir.IntType(32)
LONG: Final = ir.IntType(64)
FLOAT: Final = ir.FloatType()
LANES: Final = 16  # numbers of a vector; where the processor's are shorter, LLVM takes several of them
FLOATS: Final = ir.VectorType(FLOAT, LANES)
ELEMENT: Final = 4  # bytes of a float32, and of an int32; arrays of them begin at any multiple of it

# What an intrinsic returns: its signature, and the function that appends its instructions.
Intrinsic = tuple[Signature, Callable[[BaseContext, ir.IRBuilder, Signature, Sequence[ir.Value]], ir.Value]]


def splat(builder: ir.IRBuilder, number: ir.Value, lanes: int) -> ir.Value:
    """Returns a vector with the number in each of its lanes."""
    undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = ir.Constant(ir.VectorType(INT, lanes), None)  # zeros: the lane that each lane is taken from
    return builder.shuffle_vector(builder.insert_element(undefined, number, INT(0)), undefined, first)


def arrays_of(
    context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
) -> list[Any]:
    """Returns an intrinsic's arguments, with `data`, `shape` and `strides` as attributes of those that are arrays."""
    return [
        context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


def element(builder: ir.IRBuilder, array: Any, row: int | ir.Value, column: int | ir.Value, kind: ir.Type) -> ir.Value:
    """Returns the address of an element of four bytes, as that of a `kind`, whose row has no gaps.

    An array of one dimension has the row 0 and its columns, or as many rows of one column.
    """
    row, column = (LONG(index) if isinstance(index, int) else index for index in (row, column))
    begin, stride = builder.ptrtoint(array.data, LONG), builder.extract_value(array.strides, 0)
    offset = builder.add(builder.mul(stride, row), builder.mul(LONG(ELEMENT), column))
    return builder.inttoptr(builder.add(begin, offset), kind.as_pointer())


def load(builder: ir.IRBuilder, array: Any, row: int | ir.Value, column: int | ir.Value, kind: ir.Type) -> ir.Value:
    """Reads a `kind` from an element on; see `element`."""
    return builder.load(element(builder, array, row, column, kind), align=ELEMENT)


def store(builder: ir.IRBuilder, value: ir.Value, array: Any, row: int | ir.Value, column: int | ir.Value) -> None:
    """Writes a value from an element on; see `element`."""
    builder.store(value, element(builder, array, row, column, value.type), align=ELEMENT)
