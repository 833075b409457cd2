"""What a version brings for scores is checked."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from model.profile.fitted_scores import Score, ScoreHead, Scores

SOUND = ScoreHead(
    table=[[1.0, 2.0]] * 3, biases=[0.0, 0.0], last=[1.0, 1.0], linear=[0.0] * 3, bias=0.0, slope=1.0, intercept=0.0
)


def test_sound_weights_pass() -> None:
    Scores(Score(0.5, SOUND), Score(0.2)).check()


@pytest.mark.parametrize(
    "head",
    [
        replace(SOUND, last=[1.0]),
        replace(SOUND, table=[[1.0, 2.0], [1.0], [1.0, 2.0]]),
        replace(SOUND, table=[[1.0, 2.0]] * 2),
        replace(SOUND, table=[[1.0, math.nan]] * 3),
        replace(SOUND, slope=math.inf),
    ],
)
def test_weights_that_do_not_fit_are_refused(head: ScoreHead) -> None:
    with pytest.raises(ValueError, match="the return score"):
        Scores(Score(0.5), Score(0.5, head)).check()


@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValueError, match="the leave score has a rate"):
        Scores(Score(rate)).check()
