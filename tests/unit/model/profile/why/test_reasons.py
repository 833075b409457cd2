"""The numbers that a version brings for reasons fit together, or it is refused."""

from __future__ import annotations

import msgspec
import pytest

from model.fusion.candidate_features import FEATURES
from model.profile.why.left_out import AGES, TERMS
from model.profile.why.reasons import ReasonWeights

GOOD = ReasonWeights([[0.5] * TERMS] * AGES, [0.25] * len(FEATURES))


def test_numbers_of_the_right_sizes_are_taken() -> None:
    GOOD.check()
    assert msgspec.json.decode(msgspec.json.encode(GOOD), type=ReasonWeights) == GOOD


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network": GOOD.network[1:]}, "network is not 7 rows"),
        ({"network": [*GOOD.network[1:], [1.0]]}, "network is not 7 rows of 7"),
        ({"slopes": GOOD.slopes[1:]}, "32 slopes for 33 features"),
        ({"slopes": [*GOOD.slopes[1:], float("nan")]}, "not finite"),
        ({"network": [*GOOD.network[1:], [float("inf")] * TERMS]}, "not finite"),
    ],
)
def test_other_numbers_are_refused(changed: dict[str, list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        msgspec.structs.replace(GOOD, **changed).check()
