"""What a version brings for the profiles of users."""

from __future__ import annotations

from typing import Final

import msgspec

from model.profile.fitted_preferences import FittedPreferences
from model.profile.fitted_scores import Scores
from model.profile.fitted_segments import FittedSegments
from model.profile.price_bands import PriceBands
from model.profile.why.reasons import ReasonWeights


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the trainer has fitted for the parts of profiles, each None where a version says nothing of it.

    It is a part of `config.json`, which a worker of before reads without it.
    """

    scores: Scores | None = None
    segments: FittedSegments | None = None
    price_bands: PriceBands | None = None
    preferences: FittedPreferences | None = None
    reasons: ReasonWeights | None = None

    def check(self) -> None:
        """Raises ValueError for a part whose numbers do not fit together."""
        for part in (self.scores, self.segments, self.price_bands, self.preferences, self.reasons):
            if part is not None:
                part.check()


NO_PROFILE: Final = Profile()
