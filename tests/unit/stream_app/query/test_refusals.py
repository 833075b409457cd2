"""Every error's status and headers."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from stream_app.contract.questions.answers import ErrorAnswer, ErrorCode
from stream_app.contract.questions.paths import STATUS_OF
from stream_app.query.refusals import Refusal


@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_a_refusal_is_json_with_its_status(code: ErrorCode) -> None:
    response = Refusal(code, "do this", setting="NEXTACT_X").response()
    assert response.status == STATUS_OF[code]
    assert isinstance(response.body, bytes)
    error = msgspec.json.decode(response.body, type=ErrorAnswer).error
    assert (error.code, error.message, error.setting) == (code, "do this", "NEXTACT_X")
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))
