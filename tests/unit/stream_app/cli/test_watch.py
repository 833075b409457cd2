"""`nextact watch`: a prediction as a line for people."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.cli.watch import shown
from tests.unit.builders.topic_records import make_prediction


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"user_id":"\xff"}', b"[" * 5000, b'{"\\u001b[2J":1}'])
def test_a_record_that_is_not_a_prediction_is_a_line_and_not_the_end(value: bytes) -> None:
    assert shown(value, str).startswith("not a prediction: ")
    assert shown(value, str).isprintable()


def test_no_user_controls_the_terminal() -> None:
    odd = msgspec.structs.replace(make_prediction(), user_id="\x1b[2J\nada")
    assert shown(msgspec.json.encode(odd), str).startswith("\\x1b[2J\\nada after view")
