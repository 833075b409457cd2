"""The parts of what is said of a user, and which of them are computed."""

from __future__ import annotations

from typing import Final, Literal, get_args

Part = Literal["preferences", "segment", "scores", "reasons"]  # of what is said of a user
PARTS: Final[tuple[Part, ...]] = get_args(Part)


def parts_of(text: str) -> frozenset[Part]:
    """Reads a list of parts, separated by commas, or `none`. Raises ValueError for an unknown name."""
    names = [name.strip() for name in text.split(",")] if text.strip() != "none" else []
    for name in names:
        if name not in PARTS:
            raise ValueError(f"{name!r} is no part of a profile: say {', '.join(PARTS)}, several with commas, or none")
    return frozenset(part for part in PARTS if part in names)
