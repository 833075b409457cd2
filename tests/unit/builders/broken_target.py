"""A target of the fuzzer on which something does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TOKENS: Final[Sequence[bytes]] = [b"seven"]


def check(data: bytes) -> None:
    """Refuses one input."""
    if data == b"\x07":
        raise ValueError("seven is not allowed")


def seeds() -> list[bytes]:
    """Returns inputs, and that one."""
    return [b"", b"\x06", b"\x07"]
