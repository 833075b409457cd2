"""Converts cells of shop logs into values of the event contract. What cannot be converted stays as it is."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from stream_app.errors import SettingsInvalid

TimeUnit = Literal["auto", "s", "ms"]

_UTC: Final = re.compile(r"\s+(UTC|GMT)$", re.IGNORECASE)  # as SQL databases write it
SECONDS_BELOW: Final = 1e11  # a timestamp; in seconds it is in the year 5138, in milliseconds in March 1973


def zone_of(name: str) -> tzinfo:
    """Returns the time zone of a name or an offset; raises `SettingsInvalid`."""
    offset = re.fullmatch(r"([+-])(\d\d):?(\d\d)", name)
    if offset:
        sign, hours, minutes = offset.groups()
        return timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise SettingsInvalid(
            f"unknown time zone {name!r}: give a name like Europe/Berlin, or an offset like +08:00"
        ) from error


def milliseconds(value: Any, unit: TimeUnit, zone: tzinfo) -> Any:
    """Converts a number, an ISO 8601 text or a date to epoch milliseconds; `zone` is for values without a time zone."""
    number = finite(value, None)
    if number is not None:
        in_seconds = unit == "s" or (unit == "auto" and abs(number) < SECONDS_BELOW)
        return round(number * 1000) if in_seconds else round(number)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        moment = datetime.fromisoformat(_UTC.sub("Z", value.strip())) if isinstance(value, str) else value
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return round(zoned.timestamp() * 1000)
    except (ValueError, OverflowError, AttributeError):
        return value


def column_values(column: Any) -> list[Any]:
    """Returns the values of an Arrow column; nanoseconds are cut to microseconds, which is what Python can hold."""
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def is_empty(value: Any) -> bool:
    """Tells whether a cell is empty: null, NaN or an empty text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def finite(value: Any, otherwise: Any) -> Any:
    """Returns the value as a number if it is a finite one, else `otherwise`."""
    if isinstance(value, (bool, date)):  # faster than a union
        return otherwise
    try:
        number = float(value)
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) else otherwise


def text(value: Any) -> Any:
    """Converts ids that a file stores as numbers or bytes to text; pandas makes 17850.0 of 17850 beside empty cells.

    Raises `UnicodeDecodeError` for bytes that are not UTF-8.
    """
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
