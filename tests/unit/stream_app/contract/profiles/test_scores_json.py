"""The fields of scores in predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.profile.scores import ScoreAnswers
from stream_app.contract.profiles.scores_json import scores_json
from stream_app.errors import DataPathError
from tests.unit.builders.basics import byte_strings


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_fields_are_json_behind_other_fields() -> None:
    fragments = byte_strings(scores_json(ScoreAnswers(column(0.25, 1, 0), column(0.5, 0, 0.1234567))))
    read = [json.loads(b'{"a":1' + fragment + b"}") for fragment in fragments]
    assert [one["leave_probability"] for one in read] == [0.25, 1.0, 0.0]
    assert [one["return_probability"] for one in read] == [0.5, 0.0, 0.123457]


def test_a_score_that_a_version_lacks_is_not_there() -> None:
    assert byte_strings(scores_json(ScoreAnswers(column(0.25), None))) == [b',"leave_probability":0.250000']
    assert byte_strings(scores_json(ScoreAnswers(column(), column()))) == []


@pytest.mark.parametrize("broken", [float("nan"), -0.1, 1.1])
def test_a_number_that_is_no_probability_ends_it(broken: float) -> None:
    for scores in (ScoreAnswers(column(0.5, broken), None), ScoreAnswers(column(0.5), column(broken))):
        with pytest.raises(DataPathError, match="a score is not a probability"):
            scores_json(scores)
