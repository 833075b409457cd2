"""Events of a shop's past, the users that are made of them, and the same events as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions, Event, actions_of
from model.data.query_table import QueryTable
from model.serving.state_engine import StateEngine
from model.state.past_users import PAST_ACTION, PastUsers, past_users
from model.state.taken_past import take_past
from model.state.user_states import UserStates

HOUR = 3_600_000
SOURCE = 77  # of a file

# User, type, item or words, session, event id, milliseconds since the event before, lines.
Drawn = tuple[str, str, str, str | None, str | None, int, int]
Log = tuple[list[Event], list[int], list[int]]  # events, times, lines


def past_columns(actions: Actions, numbers: Sequence[int] = ()) -> tuple[NDArray[np.void], list[str]]:
    """Returns the columns of actions in the order of their file, and the ids of their users."""
    codes: dict[str, int] = {}
    columns = np.zeros(len(actions), PAST_ACTION)
    columns["user"] = [codes.setdefault(user, len(codes)) for user in actions.users]
    columns["number"] = numbers or np.cumsum(actions.lines == 0) - 1
    for name, column in (
        ("time", actions.times),
        ("item_key", actions.item_keys),
        ("event_id", actions.event_ids),
        ("session", actions.sessions),
        ("category", actions.categories),
        ("brand", actions.brands),
        ("line", actions.lines),
        ("type", actions.types),
        ("price", actions.prices),
    ):
        columns[name] = column
    return columns, list(codes)


def past_of(events: Sequence[Event], times: Sequence[int], lines: Sequence[int] = (), *, length: int) -> PastUsers:
    """Returns the users of events of a file."""
    actions = actions_of(events, times, lines)
    columns, users = past_columns(actions)
    return past_users(columns, users, QueryTable(actions.queries), length)


def log_of(drawn: Sequence[Drawn], begin: int) -> Log:
    events, times, lines = [], [], []
    now = begin
    for user, kind, what, session, event_id, gap, count in drawn:
        now += gap
        for line in range(1 if kind == "search" else count):
            named = {"query": f"red {what}"} if kind == "search" else {"item_id": f"{what}{line}", "price": 3.0}
            events.append(Event(user_id=user, type=kind, session_id=session, event_id=event_id, category=what, **named))
            times.append(now)
            lines.append(line)
    return events, times, lines


def stream(states: UserStates, log: Log, position: int = 0) -> None:
    """Has a worker's engine step the events one by one."""
    engine, (events, times, lines) = StateEngine(states, rules_share=0.0), log
    begins = [index for index, line in enumerate(lines) if line == 0] + [len(lines)]
    for number, (start, end) in enumerate(pairwise(begins)):
        actions = actions_of(events[start:end], times[start:end], lines[start:end])
        slots = engine.slots_of([0] * (end - start), actions.users)
        engine.step(slots, actions, np.full(end - start, position + number))


def take(states: UserStates, past: PastUsers, end: int, source: int = SOURCE) -> list[bool]:
    slots = states.slots_of([0] * len(past.users), past.users)
    taken: list[bool] = take_past(states, slots, past, source, end).tolist()
    return taken


def facts(states: UserStates, user: str) -> dict[str, object]:
    """All that is known of a user but their position, the hidden state, and what was imported."""
    slot = states.slots_of([0], [user])
    item_keys, contexts, sizes = states.histories.gather(slot)
    size = int(sizes[0])
    return {
        "items": item_keys[0, :size].tolist(),
        "contexts": contexts[0, :size].tolist(),
        "count": int(states.histories.counts[slot[0]]),
        "last": int(states.last_times[slot[0]]),
        "session": int(states.sessions[slot[0]]),
        "ids": states.event_ids[slot[0]].tolist(),
    }
