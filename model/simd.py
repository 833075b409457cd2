"""What the loops that are put together from vector instructions share."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir

_INT: Final = ir.IntType(32)


def everywhere(builder: Any, number: Any, lanes: int) -> Any:
    """A vector that has a number in each of its lanes."""
    undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = ir.Constant(ir.VectorType(_INT, lanes), None)  # the lane that each takes it from
    return builder.shuffle_vector(builder.insert_element(undefined, number, _INT(0)), undefined, first)
