"""Makes rows of the history of a shop's log, many at a time, where nothing in them needs judgement.

A cell is plain when it has one meaning alone: a text or a whole number as an id, a number as a price, a time that Arrow
reads as Python does. Rows of plain cells are events if they have what their type needs, and `LogReader` makes the same
of them one by one. It has to where any of them is something else.
"""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model.data.event_time import EARLIEST_MS, LATEST_MS
from model.data.events import ID_LENGTH
from stream_app.contract.event_names import TYPE_NAMES
from stream_app.errors import InputUnreadable
from stream_app.history.tables import NUMBERS, SCHEMA, TEXTS, TIME
from stream_app.offline.cell_values import SECONDS_BELOW, TimeUnit, column_values, milliseconds
from stream_app.offline.event_files import EventFile
from stream_app.offline.row_files import RowChunk

_LONGEST: Final = 4096  # bytes of a text; so an event is below LARGEST_EVENT even if JSON takes six for each
_FIELDS: Final = frozenset({"timestamp", *TEXTS, *NUMBERS})
_HERE: Final = pa.timestamp("us")
_AWARE: Final = pa.timestamp("us", "UTC")


class _NotPlain(Exception):
    """The rows have to be judged one by one."""


def plain_rows(log: EventFile, chunk: RowChunk, first: int) -> pa.RecordBatch | None:
    """Returns rows of a log as rows of the history, without skipped ones; `first` is the number of their first event.

    None: they have to be judged one by one.
    """
    try:
        return _plain_rows(log, _arrays(chunk), first)
    except (_NotPlain, InputUnreadable, pa.ArrowException, OverflowError, TypeError, ValueError):
        return None  # whoever judges single rows says what is wrong, and where


def _plain_rows(log: EventFile, cells: dict[str, pa.Array], first: int) -> pa.RecordBatch:
    types = _types(log, cells.pop("type", pa.nulls(len(cells["user_id"]), pa.string())))
    if types.null_count:
        cells = {name: column.filter(types.is_valid()) for name, column in cells.items()}
        types = types.drop_null()
    _require("timestamp" in cells)
    times = pa.array(_times(cells.pop("timestamp"), log.time_unit, log.zone), TIME)
    columns = {name: _numbers(column) if name in NUMBERS else _texts(column) for name, column in cells.items()}
    columns |= {
        "partition": pa.repeat(pa.scalar(0, pa.int32()), len(types)),
        "offset": pa.array(np.arange(first, first + len(types))),
        "line": pa.repeat(pa.scalar(0, pa.uint16()), len(types)),
        "record_time": times,
        "time": times,
        "type": types,
    }
    _check_events(columns)
    rows = [columns.get(column.name, pa.nulls(len(types), column.type)) for column in SCHEMA]
    return pa.RecordBatch.from_arrays(rows, schema=SCHEMA)


def _arrays(chunk: RowChunk) -> dict[str, pa.Array]:
    """Returns the columns that have any values. Raises `_NotPlain` for others than those of plain events."""
    arrays = {name: pa.array(column) if isinstance(column, list) else column for name, column in chunk.columns.items()}
    arrays = {name: _decoded(column) for name, column in arrays.items() if column.null_count < len(column)}
    _require("user_id" in arrays and arrays.keys() <= _FIELDS)
    return arrays


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _types(log: EventFile, column: pa.Array) -> pa.Array:
    """Returns the contract's types of rows; null: the row is skipped."""
    _require(_is_text(column))
    kinds = _texts(column)
    _require(not kinds.null_count or log.constant_type is not None)
    kinds = kinds.fill_null(log.constant_type or "").dictionary_encode()
    names = [_type_name(log.type_of(kind)) for kind in kinds.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(kinds.indices)


def _type_name(kind: str | None) -> str | None:
    if kind is None:
        return None
    name = TYPE_NAMES.get(kind) or TYPE_NAMES.get(kind.casefold())
    _require(name is not None)
    return name


def _times(column: pa.Array, unit: TimeUnit, zone: tzinfo) -> NDArray[np.int64]:
    """Returns times in milliseconds, by the arithmetic of `cell_values.milliseconds`."""
    _require(not column.null_count)
    if (numbers := _as_numbers(column)) is not None:
        in_seconds = np.abs(numbers) < SECONDS_BELOW if unit == "auto" else unit == "s"
        times = np.rint(np.where(in_seconds, numbers * 1000, numbers))
    elif (moments := _as_moments(column, zone)) is not None:
        times = np.rint(moments / 1_000_000 * 1000)
    else:
        times = np.array([milliseconds(value, unit, zone) for value in column_values(column)])
        _require(times.dtype == np.int64)
    _require(bool(np.all((times >= EARLIEST_MS) & (times < LATEST_MS))))
    return times.astype(np.int64)


def _as_numbers(column: pa.Array) -> NDArray[np.float64] | None:
    try:
        numbers = _finite(column)
    except (_NotPlain, pa.ArrowException):
        return None
    _require(not numbers.null_count)
    found: NDArray[np.float64] = numbers.to_numpy()
    return found


def _as_moments(column: pa.Array, zone: tzinfo) -> NDArray[np.int64] | None:
    """Returns moments in microseconds since the epoch; None: Arrow cannot read them."""
    moments = _moments_of_texts(column) if _is_text(column) else column
    if not pa.types.is_timestamp(moments.type):
        return None
    offset = timedelta() if moments.type.tz else zone.utcoffset(None)
    if offset is None:  # it is not always the same
        return None
    found: NDArray[np.int64] = moments.cast(pa.timestamp("us", moments.type.tz), safe=False).cast(pa.int64()).to_numpy()
    return found - offset // timedelta(microseconds=1)


def _moments_of_texts(texts: pa.Array) -> pa.Array:
    for moments in (_HERE, _AWARE):
        try:
            return texts.cast(moments)
        except pa.ArrowException:
            continue
    return texts


def _texts(column: pa.Array) -> pa.Array:
    """Returns texts, null for empty ones. Whole numbers become texts, as by `cell_values.text`."""
    if pa.types.is_floating(column.type):
        column = _without_nan(column).cast(pa.int64())
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    _require(_is_text(column))
    texts = column.cast(pa.string())
    texts.validate(full=True)  # Parquet promises UTF-8, and nobody has looked
    sizes = pc.min_max(pc.binary_length(texts)).as_py()
    _require((sizes["max"] or 0) <= _LONGEST)
    return texts if sizes["min"] else pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _numbers(column: pa.Array) -> pa.Array:
    return _finite(_without_nan(column) if pa.types.is_floating(column.type) else column)


def _without_nan(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _finite(column: pa.Array) -> pa.Array:
    """Returns a column as finite numbers, null where it is empty."""
    _require(_is_text(column) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
    numbers = (_texts(column) if _is_text(column) else column).cast(pa.float64())
    _require(pc.all(pc.is_finite(numbers)).as_py() is not False)
    return numbers


def _check_events(columns: dict[str, pa.Array]) -> None:
    """Raises `_NotPlain` unless all rows are events of the contract."""
    searches = pc.equal(columns["type"], "search")
    _require(not columns["user_id"].null_count)
    for name in ("item_id", "query"):
        given = columns[name].is_valid() if name in columns else pa.repeat(False, len(searches))
        _require(pc.all(pc.or_(given, searches if name == "item_id" else pc.invert(searches))).as_py() is not False)
    for name in ("user_id", "item_id"):
        _require(name not in columns or (pc.max(pc.utf8_length(columns[name])).as_py() or 0) <= ID_LENGTH)
    _require("price" not in columns or (pc.min(columns["price"]).as_py() or 0) >= 0)


def _require(plain: bool) -> None:
    if not plain:
        raise _NotPlain
