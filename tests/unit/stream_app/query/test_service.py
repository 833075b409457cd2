"""The parts, put together as in a worker."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry

from stream_app.query.addresses import this_machine
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.service import QuestionService
from stream_app.settings import Settings
from tests.unit.builders.questions import view_of


@pytest.mark.parametrize(
    ("http_host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("::1", "[::1]")]
)
def test_a_worker_says_where_its_metrics_are(http_host: str, shown: str) -> None:
    async def run() -> None:
        settings = Settings(api_port=0, http_host=http_host)
        view = replace(view_of(settings), not_ready=lambda: "wait")
        service = QuestionService(settings, view, QuestionMetrics(CollectorRegistry()))
        address = await service.start(9601)
        try:
            async with (
                ClientSession() as session,
                session.get(f"{address.asked_from(this_machine())}/v1/worker") as response,
            ):
                answer = await response.json()
        finally:
            await service.stop()
        assert (answer["metrics"], answer["ready"]) == (f"http://{shown}:9601/metrics", False)

    asyncio.run(run())
