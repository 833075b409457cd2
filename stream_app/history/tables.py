"""The tables of the history: their columns, where their files lie, and the format that these are written in."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from stream_app.settings import WriteFormat

FORMAT: Final = 2
FORMAT_BEFORE: Final = 1  # without `line` and `market`
TIME: Final = pa.timestamp("ms", tz="UTC")
TEXTS: Final = (
    "user_id", "type", "item_id", "query", "event_id", "session_id", "category", "brand", "currency", "market",
)  # fmt: skip
NUMBERS: Final = ("price", "quantity")
SCHEMA: Final = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("line", pa.uint16(), nullable=False),  # of the action in its event, from 0
        ("record_time", TIME),  # null: no valid timestamp
        ("time", TIME),  # when the event happened, as far as that is known: `event_time.judge_times`
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.float64()) for name in NUMBERS),
    ]
)


_BY_DAY: Final = re.compile(r"day=\d{4}-\d\d-\d\d/\d{20}\.parquet")
_FROM_KAFKA: Final = "the next start of the trainer reads its events from Kafka again"


@dataclass(frozen=True)
class Table:
    """A table of the history. Its rows are read with all columns, whichever format their file has."""

    schema: pa.Schema
    rows: str  # what the rows are, for messages
    repair: str  # how the rows of a damaged file come back, for messages
    folder: str = ""  # in that of the history, "/" at its end; readers of Parquet folders pass over names with "_"
    format: int = FORMAT  # of the files that are written
    left_out: Collection[str] = ()  # columns that these files do not have
    names: re.Pattern[str] = _BY_DAY  # of the files

    @property
    def written(self) -> pa.Schema:
        """The columns of the files that are written."""
        return pa.schema([column for column in self.schema if column.name not in self.left_out])


EVENTS: Final = Table(SCHEMA, "events", _FROM_KAFKA)
EVENTS_BEFORE: Final = Table(SCHEMA, "events", _FROM_KAFKA, format=FORMAT_BEFORE, left_out=("line", "market"))
SHOWN: Final = Table(
    pa.schema(
        [
            pa.field("partition", pa.int32(), nullable=False),
            pa.field("offset", pa.int64(), nullable=False),
            ("record_time", TIME),
            ("time", TIME),
            ("user_id", pa.string()),
            ("prediction_id", pa.string()),
            ("slate", pa.string()),
            ("items", pa.list_(pa.string())),  # ids in the order in which they stood
            ("event_id", pa.string()),
            ("session_id", pa.string()),
            ("market", pa.string()),
        ]
    ),
    "lists of what was shown",
    _FROM_KAFKA,
    folder="_shown/",
)
IMPORTED: Final = Table(
    SCHEMA,
    "imported events",
    "import its source again",
    folder="_imported/",
    names=re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}-\d+\.parquet"),
)


def events_table(write_format: WriteFormat) -> Table:
    """Returns the table of events as the setting `write_format` has its files written."""
    return EVENTS if write_format == "current" else EVENTS_BEFORE
