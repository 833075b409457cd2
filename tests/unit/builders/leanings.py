"""What tests of leanings share: a function of somebody else that our code overrides or calls, and what it must be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Leaning:
    """A function of somebody else that a module of ours overrides or calls."""

    function: Callable[..., Any]
    parameters: str  # as they were when ours was written
    ours: str
    why: str

    def __str__(self) -> str:
        return self.function.__qualname__

    @property
    def broken(self) -> str:
        return f"{self.function.__module__}.{self} has changed. {self.ours} leans on it: {self.why}"

    def check(self) -> None:
        names = [name for name in inspect.signature(self.function).parameters if name != "self"]
        assert names[: len(self.parameters.split())] == self.parameters.split(), self.broken
