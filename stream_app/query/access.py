"""Who may ask, and how often."""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final

from aiohttp import web

from stream_app.errors import UsageError
from stream_app.query.addresses import is_loopback
from stream_app.query.forwarding import HOP
from stream_app.query.refusals import Refusal
from stream_app.settings import Settings

_MOST_CLIENTS: Final = (
    10_000  # addresses whose questions are counted; beyond, those that asked longest ago are forgotten
)
_BURST_S: Final = 1.0  # for how long a client may save questions up


def check_exposure(settings: Settings) -> None:
    """Raises `UsageError` where everybody could ask: on another address than loopback, without tokens."""
    if not is_loopback(settings.api_host) and not _tokens(settings):
        raise UsageError(
            f"NEXTACT_API_HOST is {settings.api_host!r}, where others can reach it, but there are no tokens to "
            "ask with: give some in NEXTACT_API_TOKENS, or a file of them in NEXTACT_API_TOKENS_FILE"
        )


class Access:
    """Checks tokens and rates."""

    def __init__(self, settings: Settings, clock: Callable[[], float], name: str = "") -> None:
        """`clock` in seconds, monotonic; `name`: this worker's in hops."""
        self._tokens = [_digest(token) for token in _tokens(settings)]
        self._rate = settings.api_rate
        self._clock, self._name = clock, name
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # questions left, and when that was

    def check(self, request: web.Request, *, is_open: bool) -> None:
        """Raises `Refusal` for a client that may not ask this, or not now."""
        client, is_hop = request.remote or "", request.headers.get(HOP) == self._name
        if is_open or not is_hop:  # the worker that forwards a question has counted it
            self._count(client)
        if is_open:
            return
        if self._tokens:
            try:
                self._check_token(request.headers.get("Authorization"))
            except Refusal:
                if is_hop:  # or so it says
                    self._count(client)
                raise
        elif not _is_address(request.host):
            # A page of another site can make its name lead to this machine, and read what is answered without a token.
            raise Refusal("bad_request", "without tokens questions go to an IP address or localhost, by that name")

    def _check_token(self, header: str | None) -> None:
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(
                "no_token",
                "this worker asks for a token: send it as `Authorization: Bearer TOKEN`",
                setting="NEXTACT_API_TOKENS",
                headers={"WWW-Authenticate": "Bearer"},
            )
        given = _digest(token.strip())
        if not sum(hmac.compare_digest(given, one) for one in self._tokens):  # all of them, in the same time
            raise Refusal("wrong_token", "this token is none of the worker's", setting="NEXTACT_API_TOKENS")

    def _count(self, client: str) -> None:
        """Takes a question off what a client has left, which grows by the rate."""
        if not self._rate:
            return
        most, now = max(self._rate * _BURST_S, 1.0), self._clock()
        left, before = self._clients.pop(client, (most, now))
        left = min(left + (now - before) * self._rate, most)
        self._clients[client] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if len(self._clients) > _MOST_CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            raise Refusal(
                "too_many", f"more than {self._rate:g} questions/s from one address", setting="NEXTACT_API_RATE"
            )


def _tokens(settings: Settings) -> list[str]:
    return settings.api_tokens.get_secret_value().split()


def _digest(token: str) -> bytes:
    """Returns what is compared instead of a token: all of one length."""
    return sha256(token.encode(errors="surrogateescape")).digest()


@lru_cache(256)
def _is_address(host: str) -> bool:
    """Returns whether a Host header has an IP address, or this machine's own name for itself."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
