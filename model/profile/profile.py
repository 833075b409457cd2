"""What a version brings for the profiles of users, and which of it is computed."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from model.profile.fitted_scores import Scores
from model.profile.fitted_segments import FittedSegments

Part = Literal["preferences", "segment", "scores", "reasons"]  # of what is said of a user
PARTS: Final[tuple[Part, ...]] = get_args(Part)


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the trainer has fitted for the parts of profiles, each None where a version says nothing of it.

    It is a part of `config.json`, which a worker of before reads without it.
    """

    scores: Scores | None = None
    segments: FittedSegments | None = None

    def check(self) -> None:
        """Raises ValueError for a part whose numbers do not fit together."""
        if self.scores is not None:
            self.scores.check()
        if self.segments is not None:
            self.segments.check()


NO_PROFILE: Final = Profile()


def parts_of(text: str) -> frozenset[Part]:
    """Reads a list of parts, separated by commas, or `none`. Raises ValueError for an unknown name."""
    names = [name.strip() for name in text.split(",")] if text.strip() != "none" else []
    for name in names:
        if name not in PARTS:
            raise ValueError(f"{name!r} is no part of a profile: say {', '.join(PARTS)}, several with commas, or none")
    return frozenset(part for part in PARTS if part in names)
