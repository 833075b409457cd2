"""Loops that Python and tensor operations are too slow for, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles at the first call; what was compiled is kept on disk where there is a place that can be written.

    Runs without the interpreter's lock. Sums may be taken in any order.
    """
    options = {"nogil": True, "fastmath": {"contract", "reassoc"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no such place
        return njit(**options)(function)
