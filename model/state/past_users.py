"""Makes users of a shop's past: of each the last actions, with their times, and all else that a stream would leave.

Shapes: N events' actions, U users, A of the actions are kept, E event ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import contexts_of, types_of
from model.data.events import MOST_LINES, NO_TIME, SEARCH, Actions
from model.data.queries import QueryWords
from model.data.query_table import QueryTable
from model.state.user_states import EVENT_ID_WINDOW, find_repeats, take_in_times

PAST_ACTION: Final = np.dtype(
    [
        ("user", "<u4"),  # a number, from 0 on
        ("number", "<u4"),  # of its event in the file, from 0
        ("time", "<i8"),  # milliseconds since the epoch
        ("item_key", "<u8"),
        ("event_id", "<u8"),
        ("session", "<u8"),
        ("category", "<u2"),
        ("brand", "<u2"),
        ("line", "<u2"),
        ("type", "u1"),
        ("price", "u1"),
    ]
)  # the columns of `Actions`, with numbers for users: 48 bytes


@dataclass(frozen=True, slots=True)
class PastUsers:
    """U users and their last actions (A of them all), each user's oldest first."""

    users: list[str]  # ids, each once
    counts: NDArray[np.int64]  # (U,) actions that each ever had
    last_times: NDArray[np.int64]  # (U,)
    sessions: NDArray[np.uint64]  # (U,) the last session id given
    event_ids: NDArray[np.uint64]  # (U, E)
    starts: NDArray[np.int64]  # (U + 1,) where each user's actions begin, and the last one's end
    item_keys: NDArray[np.uint64]  # (A,)
    contexts: NDArray[np.uint32]  # (A,)
    times: NDArray[np.int64]  # (A,)
    action_sessions: NDArray[np.uint64]  # (A,) 0: not given
    numbers: NDArray[np.uint32]  # (A,) of their events in the file
    queries: QueryWords  # the words of the searches among them, by rising key

    def part(self, begin: int, end: int) -> PastUsers:
        """Returns some of the users, one behind the other."""
        users, actions = slice(begin, end), slice(int(self.starts[begin]), int(self.starts[end]))
        searches = np.unique(self.item_keys[actions][types_of(self.contexts[actions]) == SEARCH])
        return PastUsers(
            users=self.users[users],
            counts=self.counts[users],
            last_times=self.last_times[users],
            sessions=self.sessions[users],
            event_ids=self.event_ids[users],
            starts=self.starts[begin : end + 1] - self.starts[begin],
            item_keys=self.item_keys[actions],
            contexts=self.contexts[actions],
            times=self.times[actions],
            action_sessions=self.action_sessions[actions],
            numbers=self.numbers[actions],
            queries=_those_of(self.queries, searches),
        )

    def parts(self, users: int, actions: int) -> Iterator[PastUsers]:
        """Yields all users in parts of at most so many users and, but for a single user, so many actions."""
        begin = 0
        while begin < len(self.users):
            fitting = int(self.starts.searchsorted(self.starts[begin] + actions, side="right")) - 1
            end = min(max(begin + 1, fitting), begin + users, len(self.users))
            yield self.part(begin, end)
            begin = end


def past_users(actions: NDArray[np.void], users: list[str], queries: QueryTable, length: int) -> PastUsers:
    """Makes the users whose numbers are 0, 1, … of actions (N,) of PAST_ACTION, in the order of the file.

    What is in the order of time then is stepped as a stream is: no more lines of an event than a sequence takes, and no
    event whose id is among the user's last ones. `queries` has the words of all searches. The newest `length` stay.
    """
    actions = actions[actions["line"] < MOST_LINES]
    actions = actions[np.argsort(actions["time"], kind="stable")]
    actions = actions[np.argsort(actions["user"], kind="stable")]
    repeated = np.empty(len(actions), np.bool_)
    windows = np.zeros((len(users), EVENT_ID_WINDOW), np.uint64)
    find_repeats(
        windows,
        np.arange(len(actions)),
        actions["user"].astype(np.int64),
        actions["event_id"].copy(),
        actions["line"].copy(),
        repeated,
    )
    columns = _columns(actions[~repeated])
    slots = actions["user"][~repeated].astype(np.int64)
    contexts = contexts_of(columns, slots, np.full(len(slots), NO_TIME), np.zeros(len(slots), np.uint64))
    last_times, sessions = np.full(len(users), NO_TIME), np.zeros(len(users), np.uint64)
    take_in_times(
        last_times, sessions, windows, slots, columns.times, columns.sessions, columns.event_ids * (columns.lines == 0)
    )
    counts = np.bincount(slots, minlength=len(users))
    ends = np.cumsum(counts)
    kept = np.flatnonzero(np.arange(len(slots)) >= np.repeat(ends, counts) - length)
    searches = np.unique(columns.item_keys[kept][columns.types[kept] == SEARCH])
    known = queries.queries
    order = np.argsort(known.keys)
    return PastUsers(
        users=users,
        counts=counts,
        last_times=last_times,
        sessions=sessions,
        event_ids=windows,
        starts=np.concatenate(([0], np.cumsum(np.minimum(counts, length)))),
        item_keys=columns.item_keys[kept],
        contexts=contexts[kept],
        times=columns.times[kept],
        action_sessions=columns.sessions[kept],
        numbers=actions["number"][~repeated][kept],
        queries=_those_of(QueryWords(known.keys[order], known.words[order]), searches),
    )


def _columns(actions: NDArray[np.void]) -> Actions:
    """The columns of actions, but for the texts."""
    return Actions(
        users=[],
        items=[],
        queries=QueryTable().queries,
        types=actions["type"].copy(),
        item_keys=actions["item_key"].copy(),
        times=actions["time"].copy(),
        event_ids=actions["event_id"].copy(),
        sessions=actions["session"].copy(),
        prices=actions["price"].copy(),
        amounts=np.full(len(actions), np.nan),  # the version that is to read them is not known
        currencies=np.zeros(len(actions), np.uint64),
        categories=actions["category"].copy(),
        brands=actions["brand"].copy(),
        category_keys=np.zeros(len(actions), np.uint64),
        brand_keys=np.zeros(len(actions), np.uint64),
        lines=actions["line"].copy(),
    )


def _those_of(queries: QueryWords, keys: NDArray[np.uint64]) -> QueryWords:
    """Returns the queries of these keys that are there; both are sorted."""
    rows = np.minimum(queries.keys.searchsorted(keys), max(0, len(queries) - 1))
    rows = rows[queries.keys[rows] == keys] if len(queries) else rows[:0]
    return QueryWords(queries.keys[rows], queries.words[rows])
