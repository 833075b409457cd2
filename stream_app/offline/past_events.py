"""Gathers the events of a shop's file on disk, by partition, and makes users of them, one partition after the other.

So memory holds the ids of all users, the words of all searches, and the events of one partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model.data.events import NO_TIME, Actions
from model.data.query_table import QueryTable
from model.state.past_users import PAST_ACTION, PastUsers, past_users
from stream_app.contract.string_columns import strings
from stream_app.errors import UsageError
from stream_app.history.event_history import begin_of
from stream_app.history.importer import Import
from stream_app.history.listing import readable
from stream_app.history.offset_chain import check_chain
from stream_app.history.rows import ACTION_COLUMNS, actions_in
from stream_app.history.storage import HistoryStorage
from stream_app.kafka.key_partitions import key_partitions

_COLUMNS: Final = {
    "time": "times",
    "item_key": "item_keys",
    "event_id": "event_ids",
    "session": "sessions",
    "category": "categories",
    "brand": "brands",
    "line": "lines",
    "type": "types",
    "price": "prices",
}  # names in PAST_ACTION and in `Actions`


class PastEvents:
    """The events of one file. In `with`, as they lie in a temporary folder."""

    def __init__(self, partitions: int, length: int, before: int | None = None) -> None:
        """`length`: actions of a sequence; `before`: events from this time on (ms) are left out, as users have them."""
        self.source = ""  # which file it is; "": it had no events
        self.end = 0  # how many events were read
        self._partitions = partitions
        self._length = length
        self._before = before
        self._numbers: dict[str, int] = {}  # of the users
        self._homes: NDArray[np.int64] = np.zeros(0, np.int64)  # their partitions
        self._queries = QueryTable()
        self._folder = TemporaryDirectory(prefix="nextact-past-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def user_count(self) -> int:
        """The number of users."""
        return len(self._numbers)

    def add(self, piece: Import) -> None:
        """Takes in a piece of the file; pieces come in their order. Raises `UsageError` when there is no room."""
        self.source, self.end = piece.source, piece.rows["offset"][-1].as_py() + 1
        rows = piece.rows
        if self._before is not None:
            rows = rows.filter(pc.less(pc.cast(rows["time"], pa.int64()), self._before))
        if rows.num_rows:
            self._write(self._columns(rows))

    def users(self) -> Iterator[tuple[int, PastUsers]]:
        """Yields the users of each partition that has any, with the number of their events' actions."""
        names = list(self._numbers)
        for partition in range(self._partitions):
            path = self._path(partition)
            if path.exists():
                actions = np.fromfile(path, PAST_ACTION)
                numbers, actions["user"] = np.unique(actions["user"], return_inverse=True)
                users = [names[number] for number in numbers.tolist()]
                yield len(actions), past_users(actions, users, self._queries, self._length)

    def _columns(self, rows: pa.RecordBatch) -> NDArray[np.void]:
        actions = actions_in(rows.select(ACTION_COLUMNS))
        columns = past_actions(actions, self._users(rows["user_id"]), rows["offset"].to_numpy())
        self._queries.add(actions.queries)
        timed: NDArray[np.void] = columns[columns["time"] != NO_TIME]
        return timed

    def _users(self, column: pa.Array) -> NDArray[np.int64]:
        """Returns the numbers of users (N,); those who are new get one."""
        encoded, known = column.dictionary_encode(), len(self._numbers)
        users = encoded.dictionary.to_pylist()
        numbers = np.array([self._numbers.setdefault(user, len(self._numbers)) for user in users], np.int64)
        if added := list(islice(self._numbers, known, None)):
            homes = key_partitions(strings([user.encode() for user in added]), self._partitions)
            self._homes = np.concatenate((self._homes, homes))
        found: NDArray[np.int64] = numbers[encoded.indices]
        return found

    def _write(self, columns: NDArray[np.void]) -> None:
        homes = self._homes[columns["user"]]
        try:
            for partition in np.unique(homes).tolist():
                with self._path(partition).open("ab") as file:
                    file.write(columns[homes == partition].tobytes())
        except OSError as error:
            raise UsageError(
                f"the events cannot be gathered in {self._folder.name}: {error}. Each takes "
                f"{PAST_ACTION.itemsize} bytes there; let TMPDIR name a folder with more room"
            ) from error

    def _path(self, partition: int) -> Path:
        return Path(self._folder.name, str(partition))


def past_actions(actions: Actions, users: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.void]:
    """Returns actions (N,) as PAST_ACTION, with the `numbers` of their users and of their events."""
    columns = np.empty(len(actions), PAST_ACTION)
    columns["user"], columns["number"] = users, numbers
    for name, column in _COLUMNS.items():
        columns[name] = getattr(actions, column)
    return columns


def stream_begin(address: str) -> int | None:
    """Returns when what was read from the topic begins (ms), None if nothing was. Raises `HistoryFailed`."""
    storage = HistoryStorage(address)
    return begin_of(storage, check_chain(list(readable(storage))).files)
