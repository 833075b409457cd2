"""What a version brings for segments is checked."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.builders.segments import fitted_segments


def test_sound_segments_pass() -> None:
    fitted_segments().check()


@pytest.mark.parametrize(
    "changed",
    [
        {"ids": [1, 1]},
        {"ids": [0, 1]},
        {"ids": [1, 70_000]},
        {"names": ["a"]},
        {"names": ["a", ""]},
        {"centres": []},
        {"centres": [[0.0]] * 2},
        {"scales": [math.nan] * 10},
        {"quantiles": [[0.0, 1.0], [1.0, 0.5]]},
        {"quantiles": [[0.0], [1.0]]},
        {"sizes": [0.5, math.inf]},
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="segment"):
        replace(fitted_segments(), **changed).check()
