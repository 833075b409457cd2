"""What the loops that are put together from vector instructions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir

_INT: Final = ir.IntType(32)
_LONG: Final = ir.IntType(64)
_BYTES: Final = 4  # of an element


def splat(builder: Any, number: Any, lanes: int) -> Any:
    """A vector that has a number in each of its lanes."""
    undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = ir.Constant(ir.VectorType(_INT, lanes), None)  # the lane that each takes it from
    return builder.shuffle_vector(builder.insert_element(undefined, number, _INT(0)), undefined, first)


def arrays_of(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> list[Any]:
    """An intrinsic's arguments, all of which are arrays, with their parts at hand."""
    pairs = zip(signature.args, arguments, strict=True)
    return [context.make_array(kind)(context, builder, value) for kind, value in pairs]


def element(builder: Any, array: Any, row: Any, column: Any, kind: Any) -> Any:
    """The address of an element, four bytes wide, of a row without gaps, as that of a `kind`. Rows and columns are
    numbers or what computes them."""
    row, column = (_LONG(place) if isinstance(place, int) else place for place in (row, column))
    begin, stride = builder.ptrtoint(array.data, _LONG), builder.extract_value(array.strides, 0)
    offset = builder.add(builder.mul(stride, row), builder.mul(_LONG(_BYTES), column))
    return builder.inttoptr(builder.add(begin, offset), kind.as_pointer())
