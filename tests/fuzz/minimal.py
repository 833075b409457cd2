"""Chooses the inputs that are worth committing: the shortest that lead through the watched modules in another way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from types import FrameType
from typing import Any

from tests.fuzz.targets import WATCHED, load

Arc = tuple[str, int, int]  # file, and the lines that followed each other


def new_inputs(target: str, present: Iterable[bytes], candidates: Iterable[bytes]) -> list[bytes]:
    """Returns candidates, the shortest first, each of which reaches what no other input has reached."""
    check = load(target).check
    files = {spec.origin for module in WATCHED.get(target, ()) if (spec := find_spec(module)) and spec.origin}
    reached: set[Arc] = set()
    for data in present:
        reached |= arcs(check, data, files)
    chosen = []
    for data in sorted(candidates, key=len):
        if (more := arcs(check, data, files)) - reached:
            reached |= more
            chosen.append(data)
    return chosen


def arcs(check: Callable[[bytes], None], data: bytes, files: Iterable[str]) -> set[Arc]:
    """Returns the pairs of lines in these files that follow each other while an input is checked."""
    found: set[Arc] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        name, before = frame.f_code.co_filename, 0
        if name not in files:
            return None

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            found.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return step

        return step

    outer = sys.gettrace()
    sys.settrace(enter)
    try:
        with suppress(Exception):  # a find is kept as well
            check(data)
    finally:
        sys.settrace(outer)
    return found
