"""Why a question gets no answer, as a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from stream_app.contract.questions.answers import ErrorAnswer, ErrorCode, ErrorContent
from stream_app.contract.questions.paths import STATUS_OF

RETRY_AFTER_S: Final = 1  # seconds after which a question that came in a rebalance is worth asking again


class Refusal(Exception):
    """A question that is not answered."""

    def __init__(
        self, code: ErrorCode, message: str, *, setting: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """`message` says what to do, and nothing of a user; `setting`: the one that would help."""
        super().__init__(message)
        self.content = ErrorContent(code, message, setting)
        self._headers = dict(headers or {})
        if STATUS_OF[code] in (429, 503):
            self._headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    def response(self) -> web.Response:
        """Returns the response that says so."""
        return json_response(ErrorAnswer(self.content), STATUS_OF[self.content.code], self._headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Makes a response of a struct."""
    body = msgspec.json.encode(content)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def in_rebalance() -> Refusal:
    """Makes the refusal while partitions go from worker to worker, or their states are read."""
    return Refusal("rebalancing", "partitions are on their way between workers, or being read: ask again in a moment")
