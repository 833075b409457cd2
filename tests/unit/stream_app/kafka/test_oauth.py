"""Tokens from a server that the test runs, and from providers of a user's own."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import SaslAuthenticationFailed

from stream_app.errors import SettingsInvalid
from stream_app.kafka.oauth import Token, TokenCache, TokenMissing, token_provider
from stream_app.kafka.security import security_options
from stream_app.settings import Settings, load_settings
from tests.unit.builders.endpoints import served_endpoint

GOOD = {"access_token": "t0ken", "token_type": "Bearer", "expires_in": 300}


class Server:
    """An authorization server's token endpoint."""

    def __init__(self, answer: Any = GOOD, status: int = 200, text: str | None = None) -> None:
        self.answer, self.status, self.text = answer, status, text
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    async def _answer(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.headers["Authorization"], form))
        if self.text is not None:
            return web.Response(text=self.text, status=self.status)
        return web.json_response(self.answer, status=self.status)

    def serve(self, body: Callable[[Server], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with served_endpoint("/token", self._answer) as self.url:
                return await body(self)

        return asyncio.run(run())


def oauth(**given: str) -> Settings:
    return load_settings({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"} | given)


def by_credentials(url: str, **given: str) -> Settings:
    client = {"sasl_oauth_client_id": "nextact", "sasl_oauth_client_secret": "s3cret"}
    return oauth(sasl_oauth_token_url=url, **client, **given)


def test_a_token_is_granted_for_client_credentials_and_kept_while_it_is_fresh() -> None:
    async def body(server: Server) -> None:
        settings = by_credentials(server.url, sasl_oauth_scope="kafka")
        provider = token_provider(settings)
        assert await asyncio.gather(*(provider.token() for _ in range(20))) == ["t0ken"] * 20
        assert security_options(settings)["sasl_oauth_token_provider"] is provider, "all clients share the token"
        form = {"grant_type": "client_credentials", "scope": "kafka"}
        assert server.asked == [(f"Basic {base64.b64encode(b'nextact:s3cret').decode()}", form)]

    Server().serve(body)


@pytest.mark.parametrize("life", [{"expires_in": "300"}, {}])
def test_the_life_of_a_token_may_be_text_or_unknown(life: dict[str, str]) -> None:
    async def body(server: Server) -> int:
        provider = token_provider(by_credentials(server.url))
        assert [await provider.token() for _ in range(2)] == ["t", "t"]
        return len(server.asked)

    assert Server({"access_token": "t", **life}).serve(body) == (1 if life else 2)


def test_a_token_is_replaced_before_it_expires_and_kept_when_the_server_is_away_until_then() -> None:
    now, tokens = [1000.0], iter("abc")

    async def fetch() -> Token:
        return Token(next(tokens), now[0] + 80)

    async def run() -> list[str]:
        cache = TokenCache(fetch, lambda: now[0])
        seen = []
        for seconds in (0, 79, 1, 79):
            now[0] += seconds
            seen.append(await cache.token())
        return seen

    assert asyncio.run(run()) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Server({"error": "invalid_client"}, status=401), r'answers 401 \{"error": "invalid_client"\}'),
        (Server(text="<html>\n503\n</html>", status=503), "answers 503 <html> 503 </html>"),
        (Server(text="", status=302), "answers 302"),
        (Server(text="not JSON"), "no token from http://127.0.0.1:"),
        (Server({"token": "x"}), "its answer has no access_token"),
        (Server([1]), "its answer has no access_token"),
    ],
)
def test_a_server_that_refuses_is_quoted_in_one_line_without_the_secret(server: Server, message: str) -> None:
    async def body(server: Server) -> None:
        with pytest.raises(TokenMissing, match=message) as caught:
            await token_provider(by_credentials(server.url)).token()
        assert "\n" not in str(caught.value)
        assert "s3cret" not in str(caught.value)

    server.serve(body)


def test_the_secrets_of_an_address_are_not_shown() -> None:
    with pytest.raises(TokenMissing, match="no token from ") as caught:
        asyncio.run(token_provider(by_credentials("http://ada:hunter2@127.0.0.1:1/token")).token())
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(TokenMissing, match=r"no token from http://127\.0\.0\.1:1/token: Cannot connect"):
        asyncio.run(token_provider(by_credentials("http://127.0.0.1:1/token")).token())


class Signer:
    """A provider that is a class: its tokens know their expiry."""

    made = 0

    def token(self) -> tuple[str, float]:
        Signer.made += 1
        return f"signed-{Signer.made}", time.time() + 900


def broken() -> str:
    raise RuntimeError("no\ncredentials")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user's own."""
    made: Any = ModuleType("users_tokens")
    made.plain, made.Signer, made.broken, made.number = (lambda: "plain"), Signer, broken, (lambda: 7)
    made.text = "a text"
    monkeypatch.setitem(sys.modules, "users_tokens", made)
    return "users_tokens"


def test_a_provider_is_a_function_or_a_class(module: str) -> None:
    async def twice(attribute: str) -> list[str]:
        provider = token_provider(oauth(sasl_oauth_provider=f"{module}:{attribute}"))
        return [await provider.token(), await provider.token()]

    assert asyncio.run(twice("plain")) == ["plain", "plain"]
    assert asyncio.run(twice("Signer")) == ["signed-1", "signed-1"]


def test_aiokafka_sends_the_token_and_notices_that_it_is_refused(module: str) -> None:
    async def run() -> Any:
        provider = token_provider(oauth(sasl_oauth_provider=f"{module}:plain"))
        options = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": provider}
        authenticator = AIOKafkaConnection("localhost", 1, **options).authenticator_oauth()
        first = await authenticator.step(None)
        assert await authenticator.step(b"") is None, "accepted"
        with pytest.raises(SaslAuthenticationFailed, match=r"refuses the token: .*invalid_token"):
            await authenticator.step(b'{"status":"invalid_token"}')
        return first

    assert asyncio.run(run()) == (b"n,,\x01auth=Bearer plain\x01\x01", True)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("broken", r"users_tokens:broken: RuntimeError\('no\\ncredentials'\)"),
        ("number", "it returns int, not a token"),
    ],
)
def test_a_provider_that_fails_is_named(module: str, attribute: str, message: str) -> None:
    with pytest.raises(TokenMissing, match=message):
        asyncio.run(token_provider(oauth(sasl_oauth_provider=f"{module}:{attribute}")).token())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:token", "cannot be imported: No module named"),
        ("users_tokens:missing", "names nothing that can be called"),
        ("users_tokens:text", "names nothing that can be called"),
        ("users_tokens", "give module:attribute"),
    ],
)
def test_a_provider_that_cannot_be_found_is_refused_at_the_start(module: str, name: str, message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        security_options(oauth(sasl_oauth_provider=name))


def test_msk_needs_a_region_and_its_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def token() -> str:
        found: str = await token_provider(oauth(sasl_oauth_provider="stream_app.kafka.msk:token")).token()
        return found

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TokenMissing, match="AWS_REGION must say"):
        asyncio.run(token())
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", None)
    with pytest.raises(TokenMissing, match=r"nextact\[msk\]"):
        asyncio.run(token())
    signer: Any = ModuleType("signer")
    signer.generate_auth_token = lambda region: (f"for {region}", round(1000 * time.time()) + 900_000)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", ModuleType("aws_msk_iam_sasl_signer"))
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", signer)
    assert asyncio.run(token()) == "for eu-central-1"
