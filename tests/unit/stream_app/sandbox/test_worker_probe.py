"""What the probe reads of a worker's real metrics over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from stream_app.http_server import HttpServer
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.sandbox.ports import HOST, free_port
from stream_app.sandbox.worker_probe import WorkerProbe, ended_rounds
from stream_app.trainer.metrics import TrainerMetrics


def probing(body: Callable[[WorkerProbe, WorkerMetrics, list[str | None]], Awaitable[None]]) -> None:
    """Calls `body` with a probe of a server, the metrics that it serves, and why it is not ready (the last one)."""

    async def run() -> None:
        registry, reasons = CollectorRegistry(), list[str | None]([None])
        metrics = WorkerMetrics(registry)
        metrics.lag.set_function(dict)
        server = HttpServer(registry, lambda: reasons[-1])
        port = await server.start(HOST, 0)
        try:
            async with WorkerProbe(f"http://{HOST}:{port}") as probe:
                await body(probe, metrics, reasons)
        finally:
            await server.stop()

    asyncio.run(run())


def test_a_worker_is_ready_when_it_says_so() -> None:
    async def body(probe: WorkerProbe, _metrics: WorkerMetrics, reasons: list[str | None]) -> None:
        assert await probe.is_ready()
        reasons.append("recovering")
        assert not await probe.is_ready()

    probing(body)


def test_users_and_versions_are_those_of_the_last_scrape() -> None:
    async def body(probe: WorkerProbe, metrics: WorkerMetrics, _reasons: list[str | None]) -> None:
        await probe.scrape()
        assert (probe.users, probe.version, probe.models_loaded) == (0, "baseline", 0)
        metrics.users.set(7)
        metrics.model.labels("v1").set(0)
        metrics.model.labels("v2").set(1)
        metrics.reloads.labels("loaded").inc(2)
        assert probe.users == 0
        await probe.scrape()
        assert (probe.users, probe.version, probe.models_loaded) == (7, "v2", 2)

    probing(body)


def test_hits_count_from_the_first_model_on() -> None:
    async def body(probe: WorkerProbe, metrics: WorkerMetrics, _reasons: list[str | None]) -> None:
        def score(ranker: str, hits: int, targets: int) -> None:
            metrics.hits.labels(ranker).inc(hits)
            metrics.scored.labels(ranker).inc(targets)

        score("rules", 10, 100)
        await probe.scrape()
        assert probe.hits() == {"model": None, "baseline": 0.1}
        metrics.reloads.labels("loaded").inc()
        await probe.scrape()
        assert probe.hits() == {"model": None, "baseline": None}
        score("rules", 1, 4)
        score("model", 3, 4)
        await probe.scrape()
        assert probe.hits() == {"model": 0.75, "baseline": 0.25}

    probing(body)


def test_a_worker_that_does_not_answer_leaves_the_last_scrape() -> None:
    async def run() -> None:
        async with WorkerProbe(f"http://{HOST}:{free_port()}") as probe:
            await probe.scrape()
            assert not await probe.is_ready()
            assert (probe.users, probe.version) == (0, "baseline")

    asyncio.run(run())


def test_the_outcomes_of_ended_rounds_are_a_trainers() -> None:
    async def run() -> None:
        registry = CollectorRegistry()
        metrics, server = TrainerMetrics(registry), HttpServer(registry, lambda: None)
        port = await server.start(HOST, 0)
        try:
            assert await ended_rounds(f"http://{HOST}:{port}") == []
            metrics.rounds.labels("rejected").inc()
            assert await ended_rounds(f"http://{HOST}:{port}") == ["rejected"]
        finally:
            await server.stop()
        assert await ended_rounds(f"http://{HOST}:{port}") == []

    asyncio.run(run())
