"""What is read of a worker's answers."""

from __future__ import annotations

import msgspec

from stream_app.page.answers import UserAnswer
from tests.unit.builders.pretend_worker import answer


def test_what_the_page_does_not_know_is_left_out() -> None:
    said = msgspec.json.encode(answer("ada", prediction_id=None) | {"more": 1})
    found = msgspec.json.decode(said, type=UserAnswer)
    assert (found.user_id, found.prediction.prediction_id, found.rules) == ("ada", None, None)
