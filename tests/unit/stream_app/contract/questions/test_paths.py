"""The table of what can be asked."""

from __future__ import annotations

from typing import get_args

from stream_app.contract.questions.answers import ErrorCode
from stream_app.contract.questions.paths import PATHS, STATUS_OF, errors_of


def test_every_code_has_a_status_and_every_path_one_name() -> None:
    assert set(STATUS_OF) == set(get_args(ErrorCode))
    assert len({path.name for path in PATHS}) == len(PATHS)
    assert len({(path.method, path.path) for path in PATHS}) == len(PATHS)


def test_only_what_tells_nothing_of_anybody_is_open() -> None:
    assert {path.path for path in PATHS if path.is_open} == {"/v1/live", "/openapi.json"}
    for path in PATHS:
        assert ("no_token" in errors_of(path)) != path.is_open
