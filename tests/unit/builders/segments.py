"""Segments by hand: who comes often, and who does not."""

from __future__ import annotations

import math

from model.profile.fitted_segments import FittedSegments
from model.profile.segment_features import NUM_SEGMENT_FEATURES, SEGMENT_FEATURES

OFTEN, SELDOM = math.log1p(6.4), math.log1p(1)  # visits


def fitted_segments(*, ids: tuple[int, int] = (1, 2)) -> FittedSegments:
    """Two segments, around 6.4 visits and around 1; no other feature counts."""
    visits = SEGMENT_FEATURES.index("visits")

    def only(value: float) -> list[float]:
        return [value if feature == visits else 0.0 for feature in range(NUM_SEGMENT_FEATURES)]

    middle = (OFTEN + SELDOM) / 2
    return FittedSegments(
        means=only(middle),
        scales=only(1.0),
        limit=3.0,
        categories=[],
        centres=[only(OFTEN - middle), only(SELDOM - middle)],
        ids=list(ids),
        names=["returning", "few visits"],
        quantiles=[[0.0, 0.1, 0.3], [0.0, 0.5, 1.0]],
        sizes=[0.3, 0.7],
        next_id=max(ids) + 1,
    )
