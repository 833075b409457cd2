"""Bytes per user: in a worker's memory, on its disk, in the changelog.

In memory: what a process grows by while its engines take in users, all that they keep of them included. On disk and in
the changelog: what the files have grown by, for users with few actions and for users with a full ring.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model.data.events import Event, actions_of
from model.serving.answer_engine import AnswerEngine
from model.serving.state_engine import StateEngine
from model.state.user_states import UserStates
from stream_app.settings import Settings
from stream_app.worker.local_store import LocalStore
from tests.bench.made_up import MOST_ACTIONS, named, served_version, sessions, stored_users
from tests.bench.streams import Streams, fill

MOST: Final = 2048  # bytes wanted
BATCH: Final = 2048


def memory(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns bytes per user."""
    with get_context("spawn").Pool(1) as process:  # of its own: nothing that was freed before is used again
        grown, arrays = process.apply(in_memory, (options.memory_users, options.items))
    found = {"in memory, all included": grown, "of that, in arrays": arrays}
    for actions in ((options.actions or 10.0), float(MOST_ACTIONS)):
        found |= {
            f"on disk, {actions:g} actions": on_disk(options.users, actions),
            f"in the changelog, {actions:g} actions": _in_changelog(streams, options.users, actions),
        }
    verdict = "reached" if grown <= MOST else "MISSED"
    print(f"\n{grown / MOST:10.2f} x  in memory : {MOST} bytes  {verdict}: at most 1")
    for name, value in found.items():
        print(f"{value:12,.0f}  bytes per user {name}", flush=True)
    return {name: round(value) for name, value in found.items()}


def in_memory(users: int, items: int) -> tuple[float, float]:
    """What the process grows by per user of engines with so many, and what they say that their arrays take."""
    settings, vocabulary = Settings(), named(items)
    states = UserStates(
        hidden=settings.hidden, length=settings.history_length, epoch=1, device=torch.device("cpu"), most=users + 1024
    )
    engine, answers = StateEngine(states, rules_share=settings.rules_share), AnswerEngine()
    engine.serve(served_version(sessions(vocabulary, 50_000), vocabulary, torch.device("cpu")))
    _take_in(engine, answers, [f"warm-up-{number}" for number in range(1024)])
    before = _resident()
    for first in range(0, users, BATCH):
        _take_in(engine, answers, [f"user-{number}" for number in range(first, min(users, first + BATCH))])
    return (_resident() - before) / users, (engine.nbytes + answers.nbytes) / len(states)


def _take_in(engine: StateEngine, answers: AnswerEngine, users: list[str]) -> None:
    count = len(users)
    events = [Event(user_id=user, type="view", item_id=f"item-{place}") for place, user in enumerate(users)]
    slots = engine.slots_of([0] * count, users)
    answers.answer(engine.step(slots, actions_of(events, np.full(count, 1_700_000_000_000)), np.arange(count)))


def on_disk(users: int, actions: float) -> float:
    """What a local store of so many users takes, flushed, per user."""
    stored = list(stored_users(users, hidden=Settings().hidden, actions=actions))
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder), topic="bench", epoch=1, clock=time.time)
        store.open(0, users, 1e9, "bench")
        for first in range(0, users, BATCH):
            store.write(0, stored[first : first + BATCH], min(users, first + BATCH) - 1)
        store.stop()
        return _bytes(Path(folder)) / users


def _in_changelog(streams: Streams, users: int, actions: float) -> float:
    """What the broker's segments take, per user."""
    own = streams.new()
    fill(own, own.state_topic, stored_users(users, hidden=own.hidden, actions=actions))
    segments = streams.broker.data_dir.rglob(f"{own.state_topic}-*/*.log")
    return sum(path.stat().st_size for path in segments) / users


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
