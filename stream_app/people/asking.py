"""Answers users from their stored states, by the version that serves, in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import torch
from prometheus_client import CollectorRegistry

from model.serving.serving import serve_files
from stream_app.errors import UsageError
from stream_app.people.all_states import StatesOfUsers
from stream_app.pipeline.asking import AskingPipeline
from stream_app.pipeline.batches import AskedUsers
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import Settings
from stream_app.versions.own_registry import read_version
from stream_app.versions.promotions import current_champion


async def asking(settings: Settings, device: torch.device) -> Callable[[StatesOfUsers], AskedUsers]:
    """Loads the version that serves, and returns what asks it about users.

    Raises `UsageError` where none serves yet, `VersionRefused`.
    """
    champion = await current_champion(settings)
    if champion is None:
        raise UsageError("no version serves yet, so nothing can be said of users: run `nextact trainer` first")
    files = await read_version(settings, champion.version, champion.manifest_sha256)
    _, serving = await asyncio.to_thread(serve_files, files, hidden=settings.hidden, device=device)
    asked: dict[str, bytes] = {}

    def stored(_: int, users: Sequence[str]) -> dict[str, bytes]:
        return {user: asked[user] for user in users if user in asked}

    engine = new_engine(settings, device, stored)
    engine.serve(serving)
    settings = settings.model_copy(update={"reasons": 0})  # of recommendations: nobody reads them here
    pipeline = AskingPipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)

    def ask(users: StatesOfUsers) -> AskedUsers:
        asked.update(users.records)
        try:
            return pipeline.asked([users.partition] * len(users.records), list(users.records))
        finally:
            asked.clear()
            engine.clear()

    return ask
