"""Writes a row per user: what is said of them as they are, by the version that serves, and their state."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data.events import NO_TIME
from stream_app.contract.predictions import NamedShare, Prediction, decode_prediction
from stream_app.people.all_states import StatesOfUsers
from stream_app.pipeline.batches import AskedUsers

Ask = Callable[[StatesOfUsers], AskedUsers]

_SHARES: Final = pa.list_(pa.struct({"name": pa.string(), "share": pa.float32()}))
_COLUMNS: Final = {
    "user_id": pa.string(),
    "partition": pa.int32(),
    "actions": pa.int64(),
    "last_action": pa.timestamp("ms", "UTC"),
    "model_version": pa.string(),
    "purchase_probability": pa.float32(),
    "leave_probability": pa.float32(),
    "return_probability": pa.float32(),
    "segment_id": pa.int32(),
    "segment": pa.string(),
    "segment_fit": pa.float32(),
    "categories": _SHARES,
    "brands": _SHARES,
    "price_low": pa.float64(),
    "price_high": pa.float64(),
    "price_currency": pa.string(),
    "next_items": pa.list_(pa.string()),  # best first
}


def schema(hidden: int) -> pa.Schema:
    """Returns the columns of the table; states have so many numbers."""
    return pa.schema([*_COLUMNS.items(), ("state", pa.list_(pa.float16(), hidden))])


async def write_profiles(path: Path, users: AsyncIterable[StatesOfUsers], ask: Ask, hidden: int) -> int:
    """Writes a Parquet file, complete or not at all; returns how many rows it has."""
    partial, rows = path.with_name(f"{path.name}.partial"), 0
    try:
        with pq.ParquetWriter(partial, schema(hidden), compression="zstd") as writer:
            async for some in users:
                table = rows_of(some, ask(some))
                writer.write_table(table)
                rows += len(table)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def rows_of(users: StatesOfUsers, asked: AskedUsers) -> pa.Table:
    """Returns a row for each user who did something; a sequence that was passed on leaves nobody."""
    said = [decode_prediction(value) for value in asked.predictions]
    known = [index for index, one in enumerate(said) if one.history_length]
    rows = [_row(users.partition, said[index]) for index in known]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()]
    return pa.Table.from_arrays([*columns, _states(asked.hidden[known])], schema=schema(asked.hidden.shape[1]))


def _states(hidden: NDArray[np.float16]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(hidden.ravel()), hidden.shape[1])


def _row(partition: int, said: Prediction) -> dict[str, Any]:
    segment, likes = said.segment, said.preferences
    band = None if likes is None else likes.price_band
    return {
        "user_id": said.user_id,
        "partition": partition,
        "actions": said.history_length,
        "last_action": None if said.event_timestamp == NO_TIME else said.event_timestamp,
        "model_version": said.model_version,
        "purchase_probability": said.purchase_probability,
        "leave_probability": said.leave_probability,
        "return_probability": said.return_probability,
        "segment_id": segment and segment.id,
        "segment": segment and segment.name,
        "segment_fit": segment and segment.fit,
        "categories": None if likes is None else _shares(likes.categories),
        "brands": None if likes is None else _shares(likes.brands),
        "price_low": band and band.low,
        "price_high": band and band.high,
        "price_currency": band and band.currency,
        "next_items": [item.item_id for item in said.recommendations],
    }


def _shares(shares: Sequence[NamedShare]) -> list[dict[str, Any]]:
    return [{"name": one.name, "share": one.share} for one in shares]
