"""Tokens for OAUTHBEARER: by client credentials from an authorization server, or from a provider of the user's own.

What this leans on in aiokafka: a connection makes its authenticator by the name `conn.OAuthAuthenticator`, and gives
its `step` what the broker has answered.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from model.addresses import shown
from model.errors import NextactError
from stream_app.errors import SettingsInvalid
from stream_app.settings import Settings

_TIMEOUT_S: Final = 10.0  # seconds that the authorization server has for its answer
_FRESH_SHARE: Final = 0.8  # of a token's life in which it is used for new connections, as Kafka's own client does
_SHOWN: Final = 200  # most characters of a server's answer in a message


class TokenMissing(KafkaConnectionError):  # type: ignore[misc]
    """There is no token now. A connection that fails, for aiokafka: it logs it and tries again later."""


class Token(NamedTuple):
    """A token and how long it may be used for new connections."""

    text: str
    use_until: float  # seconds since the epoch; 0: for one connection


class TokenAuthenticator(conn.OAuthAuthenticator):  # type: ignore[misc]
    """aiokafka's authenticator, which notices that a token was refused.

    The broker then says why in an answer that is no error yet (KIP-255); aiokafka takes it for a success, and the next
    answer for brokers' addresses.
    """

    async def step(self, payload: bytes | None) -> Any:
        """Returns the next message; raises `SaslAuthenticationFailed` for a refusal."""
        if payload:
            raise SaslAuthenticationFailed(f"the broker refuses the token: {payload.decode(errors='replace')}")
        return await super().step(payload)


class TokenCache(AbstractTokenProvider):  # type: ignore[misc]
    """Keeps a token while it is fresh. Clients of several event loops, in several threads, may share one."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float]) -> None:
        """`fetch` gets a new token and raises `TokenMissing`; `clock` gives seconds since the epoch."""
        self._fetch, self._clock = fetch, clock
        self._token = Token("", 0.0)
        # Per event loop, as a lock belongs to one; so that many clients that start together ask once.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def token(self) -> str:
        """Returns a token that is valid now. Raises `TokenMissing`."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._clock() >= self._token.use_until:
                self._token = await self._fetch()
            return self._token.text


def token_provider(settings: Settings) -> AbstractTokenProvider:
    """Returns where the clients of these settings get their tokens; equal settings share one cache.

    From then on refused tokens are noticed. Raises `SettingsInvalid` for a provider that cannot be imported.
    """
    conn.OAuthAuthenticator = TokenAuthenticator
    return _shared_cache(
        settings.sasl_oauth_provider,
        settings.sasl_oauth_token_url,
        settings.sasl_oauth_client_id,
        settings.sasl_oauth_client_secret.get_secret_value(),
        settings.sasl_oauth_scope,
        settings.ssl_cafile,
    )


@lru_cache(maxsize=4)
def _shared_cache(provider: str, url: str, client: str, secret: str, scope: str, cafile: str) -> TokenCache:
    if provider:
        return TokenCache(partial(_provided, _imported(provider), provider), time.time)
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    return TokenCache(partial(_granted, url, _basic(client, secret), form, cafile), time.time)


def _basic(client: str, secret: str) -> dict[str, str]:
    """Returns the header by which a client names itself (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{client}:{secret}'.encode()).decode()}"}


async def _granted(url: str, client: dict[str, str], form: dict[str, str], cafile: str) -> Token:
    """Asks an authorization server for a token (RFC 6749, section 4.4). Raises `TokenMissing`."""
    import aiohttp  # which takes long, and most need none of it

    trust = ssl.create_default_context()
    if cafile:
        trust.load_verify_locations(cafile)
    asked = time.time()
    try:
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=form, headers=client, ssl=trust, allow_redirects=False) as response,
        ):
            text = await response.text(errors="replace")
            status = response.status
            answer = await response.json(content_type=None) if status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = (
            f"no answer in {_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error).replace(url, shown(url))
        )
        raise TokenMissing(f"no token from {shown(url)}: {why}") from error
    if status != 200:
        raise TokenMissing(f"no token from {shown(url)}: it answers {status} {_one_line(text)}")
    if not isinstance(answer, dict) or not isinstance(token := answer.get("access_token"), str):
        raise TokenMissing(f"no token from {shown(url)}: its answer has no access_token")
    return Token(token, asked + _FRESH_SHARE * _seconds(answer.get("expires_in")))


def _seconds(life: object) -> float:
    """Returns a token's life, which some servers write as text; 0 where it is not said."""
    try:
        return float(str(life))
    except ValueError:
        return 0.0


async def _provided(provider: Callable[[], Any], name: str) -> Token:
    """Asks the user's provider, in a thread, as it may wait. Raises `TokenMissing`."""
    asked = time.time()
    try:
        given = await asyncio.to_thread(provider)
    except Exception as error:
        why = str(error) if isinstance(error, NextactError) else repr(error)
        raise TokenMissing(f"no token from NEXTACT_SASL_OAUTH_PROVIDER {name}: {_one_line(why)}") from error
    match given:
        case str() if given:
            return Token(given, 0.0)
        case (str() as text, int() | float() as expiry) if text:
            return Token(text, asked + _FRESH_SHARE * (expiry - asked))
    raise TokenMissing(
        f"no token from NEXTACT_SASL_OAUTH_PROVIDER {name}: it returns {type(given).__name__}, not a token, or a token "
        "and its expiry in seconds since the epoch"
    )


def _imported(name: str) -> Callable[[], Any]:
    """Returns what a call of gives a token: a function, or an object of a class with a method `token`."""
    module, _, attribute = name.partition(":")
    hint = "give module:attribute, a function without parameters that returns a token"
    try:
        found = getattr(importlib.import_module(module), attribute) if attribute else None
    except ImportError as error:
        raise SettingsInvalid(f"NEXTACT_SASL_OAUTH_PROVIDER {name} cannot be imported: {error}; {hint}") from error
    except AttributeError:
        found = None
    if isinstance(found, type):
        found = getattr(found(), "token", None)
    if not callable(found):
        raise SettingsInvalid(f"NEXTACT_SASL_OAUTH_PROVIDER {name} names nothing that can be called; {hint}")
    return found  # type: ignore[no-any-return]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
