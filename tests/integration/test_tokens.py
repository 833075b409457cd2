"""OAUTHBEARER on a real broker: it takes the tokens that a server grants, and names what goes wrong with them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import TopicPartition

from stream_app.errors import AuthenticationFailed
from stream_app.kafka.clients import new_admin, new_consumer
from stream_app.kafka.pace import Pace
from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox import cluster
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.layout import Layout, Node, server_properties
from stream_app.sandbox.ports import free_port
from stream_app.settings import Settings
from tests.unit.builders.endpoints import served_endpoint

pytestmark = pytest.mark.broker

_SESSION_MS = 1500  # after which the broker ends a connection that came with a token
_PREFIX = "listener.name.tokens"
_LOGIN = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's listener that takes Kafka's unsecured tokens (JSON Web Tokens without a signature)."""
    tokens = f"127.0.0.1:{free_port()}"

    def with_tokens(layout: Layout, node: Node, directory: Path, security: Mapping[str, object] | None = None) -> str:
        plain = server_properties(layout, node, directory, security)
        return plain + (
            f"listeners=PLAINTEXT://{node.address},CONTROLLER://127.0.0.1:{node.controller_port},TOKENS://{tokens}\n"
            f"advertised.listeners=PLAINTEXT://{node.address},TOKENS://{tokens}\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TOKENS:SASL_PLAINTEXT\n"
            f"{_PREFIX}.sasl.enabled.mechanisms=OAUTHBEARER\n"
            f"{_PREFIX}.oauthbearer.sasl.jaas.config={_LOGIN}\n"
            f"{_PREFIX}.oauthbearer.connections.max.reauth.ms={_SESSION_MS}\n"
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "server_properties", with_tokens)
        with Broker(tmp_path_factory.mktemp("tokens")):
            yield tokens


class Server:
    """An authorization server's token endpoint: its tokens are for `subject` and last for `life` seconds."""

    def __init__(self, *, life: float = 300.0, status: int = 200) -> None:
        self.life, self.status, self.granted = life, status, 0

    async def answer(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"error": "invalid_client"}, status=self.status)
        self.granted += 1
        now = time.time()
        parts: tuple[dict[str, Any], ...] = ({"alg": "none"}, {"sub": "nextact", "iat": now, "exp": now + self.life})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return web.json_response({"access_token": f"{token}.", "expires_in": self.life})

    def serve(self, address: str, body: Callable[[Settings], Awaitable[None]]) -> None:
        async def run() -> None:
            async with served_endpoint("/token", self.answer) as url:
                await body(
                    Settings(
                        brokers=address,
                        security_protocol="SASL_PLAINTEXT",
                        sasl_mechanism="OAUTHBEARER",
                        sasl_oauth_token_url=url,
                        sasl_oauth_client_id="nextact",
                        sasl_oauth_client_secret="s3cret",
                        partitions=2,
                        replication=1,
                    )
                )

        asyncio.run(run())


def test_events_are_published_and_read_with_tokens_past_the_end_of_the_session(address: str) -> None:
    server = Server()

    async def body(settings: Settings) -> None:
        await ensure_topics(settings)
        events = ({"user_id": "ada", "type": "view", "item_id": str(number)} for number in range(40))
        result = await publish(events, kafka=settings, topic=settings.events_topic, pace=Pace(rate=10.0))
        assert result.sent == 40, "4 s: the broker has ended the connection more than once"
        async with new_consumer(settings, "subscriber") as consumer:
            partitions = [TopicPartition(settings.events_topic, number) for number in range(2)]
            assert sum((await consumer.end_offsets(partitions)).values()) == 40
        assert server.granted == 1, "all clients of the process share a token"

    server.serve(address, body)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Server(life=-60.0), "the broker refuses the token"),
        (Server(status=401), 'it answers 401 {"error": "invalid_client"}'),
    ],
)
def test_a_token_that_is_refused_or_not_granted_is_named(address: str, server: Server, message: str) -> None:
    async def body(settings: Settings) -> None:
        with pytest.raises(AuthenticationFailed) as caught:
            async with new_admin(settings, "operator", request_timeout_ms=5000):
                pass
        assert message in str(caught.value)
        assert "NEXTACT_SASL_OAUTH_*" in str(caught.value)

    server.serve(address, body)
