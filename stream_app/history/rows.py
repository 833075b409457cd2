"""The rows of the history: their columns, and the ways from events to rows and from rows to actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.event_time import EARLIEST_MS, LATEST_MS, judge_times
from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    NO_TIME,
    PURCHASE,
    REMOVE,
    SEARCH,
    TYPE_CODES,
    Actions,
    ItemNames,
    buckets_of_keys,
    currency_keys,
    is_return,
    item_key,
    price_buckets,
    text_hashes,
)
from model.data.queries import read_queries
from stream_app.contract.decoded import DecodedBatch, ShownList
from stream_app.history.tables import NUMBERS, SCHEMA, SHOWN, TEXTS, TIME

ACTION_COLUMNS: Final = (
    "line", "time", "user_id", "type", "item_id", "query", "event_id", "session_id", "category", "brand", "price",
    "currency", "quantity", "market",
)  # fmt: skip
REPEATING: Final = ("user_id", "type", "item_id", "query", "session_id", "category", "brand", "currency")


def rows_of(partition: int, offsets: Sequence[int], decoded: DecodedBatch) -> pa.RecordBatch:
    """Returns the actions of a batch as rows; `offsets` are those of all its records."""
    times, _ = judge_times(decoded.times, decoded.record_times)
    columns: dict[str, Any] = {
        "partition": pa.array([partition] * len(decoded.events), pa.int32()),
        "offset": pa.array([offsets[position] for position in decoded.positions], pa.int64()),
        "line": pa.array(decoded.lines, pa.uint16()),
        "record_time": pa.array([known_time(time) for time in decoded.record_times], TIME),
        "time": pa.array(times, TIME, mask=times == NO_TIME),
    }
    for name in (*TEXTS, *NUMBERS):
        columns[name] = pa.array([getattr(event, name) for event in decoded.events], SCHEMA.field(name).type)
    columns["type"] = pa.array(["remove" if is_return(event) else event.type for event in decoded.events])
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def shown_rows_of(partition: int, offsets: Sequence[int], shown: Sequence[ShownList]) -> pa.RecordBatch:
    """Returns lists of what was shown as rows; `offsets` are those of all records of their batch."""
    times, _ = judge_times([one.time for one in shown], [one.record_time for one in shown])
    columns: dict[str, Any] = {
        "partition": [partition] * len(shown),
        "offset": [offsets[one.position] for one in shown],
        "record_time": [known_time(one.record_time) for one in shown],
        "time": pa.array(times, TIME, mask=times == NO_TIME),
    }
    for column in SHOWN.schema:
        if column.name not in columns:
            columns[column.name] = [getattr(one, column.name) for one in shown]
    return pa.RecordBatch.from_pydict(columns, schema=SHOWN.schema)


def actions_in(rows: pa.RecordBatch, names: ItemNames | None = None) -> Actions:
    """Returns the actions in rows that have ACTION_COLUMNS, the same as `actions_of` makes of their events.

    `names` keeps what categories and brands are called.
    """
    types = _by_value(rows["type"], lambda names: np.array([TYPE_CODES[name] for name in names], np.uint8))
    given_back = pc.less(rows["quantity"], 0).fill_null(False).to_numpy(zero_copy_only=False)
    types[given_back & (types == PURCHASE)] = REMOVE
    searches = types == SEARCH
    item_keys = _by_value(rows["item_id"], lambda texts: np.array([item_key(text or "") for text in texts], np.uint64))
    asked = rows["query"].cast(pa.string()).filter(pa.array(searches)).fill_null("")
    item_keys[searches], queries = read_queries(asked.to_pylist())
    names = names or ItemNames()
    categories, brands = (
        _by_value(rows["category"], names.categories.keys_of),
        _by_value(rows["brand"], names.brands.keys_of),
    )
    return Actions(
        users=_texts(rows["user_id"]),
        items=_texts(pc.if_else(pa.array(searches), pa.scalar("", pa.string()), rows["item_id"].cast(pa.string()))),
        queries=queries,
        types=types,
        item_keys=item_keys,
        times=rows["time"].cast(pa.int64()).fill_null(NO_TIME).to_numpy(zero_copy_only=False),
        event_ids=_hashes(rows["event_id"]),
        sessions=_by_value(rows["session_id"], text_hashes),
        prices=_by_value(rows["price"], price_buckets),
        amounts=_by_value(rows["price"], lambda prices: np.array(prices, np.float64)),  # None becomes NaN
        currencies=_by_value(rows["currency"], currency_keys),
        categories=buckets_of_keys(categories, CATEGORY_BUCKETS),
        brands=buckets_of_keys(brands, BRAND_BUCKETS),
        category_keys=categories,
        brand_keys=brands,
        lines=rows["line"].to_numpy(zero_copy_only=False),
    )


class Completion:
    """Gives rows the columns that the format of their file does not have: lines by their offsets, nulls else."""

    def __init__(self, schema: pa.Schema, stored: Sequence[str], wanted: Sequence[str]) -> None:
        self._schema = pa.schema([schema.field(name) for name in wanted])
        self._missing = [name for name in wanted if name not in stored]
        self._last = (-1, -1, -1)  # partition, offset and line of the row before
        offsets = ("partition", "offset") if "line" in self._missing else ()
        self.read: Final = [name for name in dict.fromkeys((*wanted, *offsets)) if name in stored]

    def of(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Returns rows, which come in their order, with all columns that are wanted."""
        if not self._missing:
            return rows
        for name in self._missing:
            column = self._schema.field(name)
            values = self._lines(rows) if name == "line" else pa.nulls(rows.num_rows, column.type)
            rows = rows.append_column(column, values)
        return rows.select(self._schema.names)

    def _lines(self, rows: pa.RecordBatch) -> pa.Array:
        """Numbers the rows of each event, which share its offset; a batch may begin inside of one."""
        partition, offset, line = self._last
        records = np.stack([rows[name].to_numpy(zero_copy_only=False) for name in ("partition", "offset")])
        before = np.concatenate((np.array([[partition], [offset]]), records), axis=1)
        begins = np.where((records != before[:, :-1]).any(axis=0), np.arange(rows.num_rows), -1 - line)
        lines = np.arange(rows.num_rows) - np.maximum.accumulate(begins)
        self._last = (int(before[0, -1]), int(before[1, -1]), int(np.append(line, lines)[-1]))
        return pa.array(lines, pa.uint16())


def known_time(record_time: int) -> int | None:
    """Returns a record's timestamp (ms), or None if it is not a valid time."""
    return record_time if EARLIEST_MS <= record_time < LATEST_MS else None


def day_of(time: int) -> str:
    """Returns the day (UTC) of a time (ms since the epoch), as 2026-01-31."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d")


def _texts(column: pa.Array) -> list[str]:
    """Returns a column's texts, equal ones as one object: users and items come again and again."""
    encoded = _encoded(column)
    values = encoded.dictionary.to_pylist()
    texts: list[str] = [values[code] for code in encoded.indices.to_pylist()]
    return texts


def _hashes(column: pa.Array) -> NDArray[np.uint64]:
    """Returns what `text_hashes` does, sooner for texts that all differ."""
    texts = column.fill_null("").cast(pa.binary())
    hashes = np.fromiter(map(xxh3_64_intdigest, texts.to_pylist()), np.uint64, len(texts))
    return np.where(pc.equal(texts, b""), np.uint64(0), np.maximum(hashes, np.uint64(1)))


def _by_value(column: pa.Array, compute: Callable[[list[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Returns what `compute` makes of each text (None: null) of a column, computed once per distinct text."""
    encoded = _encoded(column)
    values = compute(encoded.dictionary.to_pylist() + [None] * bool(encoded.null_count))
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    computed: NDArray[Any] = values[codes]
    return computed


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
