"""Logs of a few rows, and logs in parts on disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from model.data.disk_log import DiskLog
from model.data.events import Actions, Event, actions_of
from model.data.sequences import Sequences

Row = tuple[str, str, str, int, str | None]  # user, type, item or query, time in ms, session
Basket = tuple[str, str, str, int]  # user, type, a letter for the item of each line, time in ms

ROOMY = 1_000_000  # actions that may be in memory: more than any of these logs has


def log(*rows: tuple[str, str, int]) -> Actions:
    """Rows of user, item ("?": a search) and seconds."""
    events = [
        Event(user_id=user, type="search" if item == "?" else "view", item_id=item, query="q") for user, item, _ in rows
    ]
    return actions_of(events, [1_000_000_000_000 + 1000 * second for _, _, second in rows])


def in_parts(whole: Sequences, count: int, room: int, folder: Path, files: ExitStack) -> DiskLog:
    """The same users in so many parts."""
    groups = np.array_split(np.arange(len(whole.offsets) - 1), count)
    return DiskLog.of((whole.of_users(group) for group in groups), room, folder, files)


def log_of(rows: list[Row]) -> Actions:
    """The actions of rows, in their order."""
    events = [
        Event(user_id=user, type=kind, item_id=thing, query=thing, session_id=session)
        for user, kind, thing, _, session in rows
    ]
    return actions_of(events, [row[3] for row in rows])


def baskets_of(baskets: Sequence[Basket]) -> Actions:
    """Events of several actions each, one after the other."""
    events, times, lines = list[Event](), list[int](), list[int]()
    for user, kind, items, time in baskets:
        events += [Event(user_id=user, type=kind, item_id=item, query=item) for item in items]
        times += [time] * len(items)
        lines += range(len(items))
    return actions_of(events, times, lines)


def one_user(kinds: list[str], name: str = "u") -> list[Row]:
    """A user who did something every second, of these kinds."""
    return [(name, kind, f"i{index}", 1000 * index, None) for index, kind in enumerate(kinds)]
