"""The field of the segment in predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.profile.segments import SegmentAnswers
from stream_app.contract.profiles.segments_json import segments_json
from stream_app.errors import DataPathError
from tests.unit.builders.basics import byte_strings

NAMES, IDS = ('returning, "loud"', "neu, süß"), np.array([7, 12])


def test_the_field_is_json_behind_other_fields() -> None:
    numbers, fits = np.array([1, 0, 1]), np.array([0.25, 1, 0], np.float32)
    fragments = byte_strings(segments_json(SegmentAnswers(numbers, fits, NAMES, IDS)))
    read = [json.loads(b'{"a":1' + fragment + b"}")["segment"] for fragment in fragments]
    assert read == [
        {"id": 12, "name": "neu, süß", "fit": 0.25},
        {"id": 7, "name": 'returning, "loud"', "fit": 1.0},
        {"id": 12, "name": "neu, süß", "fit": 0.0},
    ]


@pytest.mark.parametrize("fit", [float("nan"), -0.1, 1.1])
def test_a_fit_that_is_none_ends_it(fit: float) -> None:
    with pytest.raises(DataPathError, match="fits a segment"):
        segments_json(SegmentAnswers(np.array([0]), np.array([fit], np.float32), NAMES, IDS))
