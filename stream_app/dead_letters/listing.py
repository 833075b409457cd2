"""`nextact dead-letters list`: shows a line for each dead letter, and how many there are for each reason."""

from __future__ import annotations

import base64
import heapq
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from stream_app.contract.dead_letters import DeadLetter
from stream_app.dead_letters.reader import Progress, Selection, read_dead_letters
from stream_app.settings import Settings


async def list_dead_letters(
    settings: Settings,
    selection: Selection,
    show: Callable[[DeadLetter], None],
    progress: Progress,
    *,
    limit: int | None,
) -> Counter[str]:
    """Shows the selected dead letters: those of a partition in order, or with a limit the newest in order of time.

    Returns how many there are by reason, also those beyond the limit.
    """
    reasons: Counter[str] = Counter()
    newest: list[tuple[int, int, int, DeadLetter]] = []
    async for letters in read_dead_letters(settings, selection, progress):
        for letter in letters:
            reasons[letter.reason or "unknown"] += 1
            if limit is None:
                show(letter)
                continue
            heapq.heappush(newest, (letter.timestamp, letter.partition, letter.offset, letter))
            if len(newest) > limit:
                heapq.heappop(newest)
    for *_, letter in sorted(newest):
        show(letter)
    return reasons


def line(letter: DeadLetter, width: int) -> str:
    """Returns a dead letter as a line of at most `width` characters, in which nothing can control a terminal."""
    replays = f" (replay {letter.replays})" if letter.replays else ""
    first = "" if letter.source_first_offset < 0 else f"{letter.source_first_offset}-"
    origin = f"{letter.source_topic}/{letter.source_partition}@{first}{letter.source_offset}"
    source = f"{_moment(letter.timestamp)} {origin}"
    cut = f" (cut: {', '.join(letter.cut)})" if letter.cut else ""
    reason = f"{letter.reason or 'unknown'}{replays}{cut}: {letter.message}"
    text = f"{source} {reason} key={_shown(letter.key, width)} value={_shown(letter.value, width)}"
    return _cut(escaped(text), width)


def _moment(time: int) -> str:
    """Returns a record's timestamp (ms) as text, as a number where no calendar has it."""
    try:
        return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time} ms"


def as_json(letter: DeadLetter) -> str:
    """Returns a dead letter as one line of JSON; bytes that are not UTF-8 are base64 under another name."""
    source = {
        "topic": letter.source_topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "timestamp": letter.source_timestamp,
    }
    if letter.source_first_offset >= 0:
        source["first_offset"] = letter.source_first_offset
    cut = {"cut": list(letter.cut), "value_bytes": letter.value_bytes} if letter.cut else {}
    headers = [
        _json_bytes("name", name.encode(errors="surrogateescape")) | _json_bytes("value", value)
        for name, value in letter.headers
    ]
    fields = {
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "reason": letter.reason,
        "message": letter.message,
        "source": source,
        "replays": letter.replays,
        **_json_bytes("key", letter.key),
        **_json_bytes("value", letter.value),
        "headers": headers,
        **cut,
    }
    return json.dumps(fields)


def summary(reasons: Counter[str]) -> str:
    """Returns a line for each reason with its number of dead letters, the most frequent first, and the total."""
    rows = [f"{count:>12,}  {reason}" for reason, count in reasons.most_common()]
    return "\n".join([*rows, f"{reasons.total():>12,}  dead letters"])


def _json_bytes(name: str, value: bytes | None) -> dict[str, Any]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value or b"").decode()}


def _shown(value: bytes | None, width: int) -> str:
    """Returns the start of a value, which may have megabytes, as text; a character has at most four bytes."""
    return "none" if value is None else value[: 4 * width].decode(errors="backslashreplace")


def escaped(text: str) -> str:
    """Returns a text in which nothing can control a terminal."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
