"""Limits of dead letters: the oracle looks at the whole log for every record."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.decoded import Reason, Rejection
from stream_app.errors import DataPathError, TooManyDeadLetters
from stream_app.pipeline.dead_letter_limits import DeadLetterLimits
from stream_app.settings import Settings, load_settings
from tests.unit.builders.basics import make_record

REASONS = get_args(Reason)[:3]


class TakenRecord(NamedTuple):
    """A record as a worker takes it in."""

    partition: int
    reason: Reason | None  # None: an event


def limits(consecutive: int, ratio: float, window: int = 1) -> Settings:
    return load_settings(
        {"dead_letters_consecutive": consecutive, "dead_letters_ratio": ratio, "dead_letters_window": window}
    )


def count(counted: DeadLetterLimits, batch: list[TakenRecord], *, first: int = 0, generation: int = 1) -> None:
    records = [make_record(b"", partition=taken.partition, offset=first + n) for n, taken in enumerate(batch)]
    rejected = [Rejection(n, taken.reason, f"why {first + n}") for n, taken in enumerate(batch) if taken.reason]
    counted.count(records, rejected, generation)


def first_too_many(log: list[TakenRecord], settings: Settings) -> int | None:
    """The oracle: the index of the first record that exceeds a limit."""
    for end in range(1, len(log) + 1):
        if log[end - 1].reason is None:
            continue
        own = [taken.reason is not None for taken in log[:end] if taken.partition == log[end - 1].partition]
        run = len(own) if all(own) else own[::-1].index(False)
        if settings.dead_letters_consecutive and run > settings.dead_letters_consecutive:
            return end - 1
        window, ratio = settings.dead_letters_window, settings.dead_letters_ratio
        bad = sum(taken.reason is not None for taken in log[max(end - window, 0) : end])
        if ratio and end >= window and bad / window > ratio:
            return end - 1
    return None


logs = st.lists(
    st.builds(TakenRecord, st.integers(0, 2), st.sampled_from([None, None, *REASONS]))
    | st.just(TakenRecord(0, "empty")),
    max_size=40,
)
some_limits = st.builds(limits, st.integers(0, 6), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(1, 16))


@given(logs, some_limits, st.lists(st.integers(1, 12), min_size=40, max_size=40))
def test_only_the_batch_that_exceeds_a_limit_is_refused(
    log: list[TakenRecord], settings: Settings, sizes: list[int]
) -> None:
    counted = DeadLetterLimits(settings)
    expected, start = first_too_many(log, settings), 0
    for size in sizes:
        batch = log[start : start + size]
        if expected is not None and start <= expected < start + size:
            with pytest.raises(TooManyDeadLetters):
                count(counted, batch, first=start)
            return
        count(counted, batch, first=start)
        start += size
    assert expected is None


@given(st.lists(st.sampled_from(REASONS), min_size=6, max_size=6), st.booleans())
def test_the_message_says_how_many_and_shows_the_newest_of_the_most_frequent(reasons: list[Reason], row: bool) -> None:
    settings = limits(5, 0) if row else limits(0, 0.8, 6)
    with pytest.raises(TooManyDeadLetters) as raised:
        count(DeadLetterLimits(settings), [TakenRecord(2, reason) for reason in reasons], first=70)
    message, counts = str(raised.value), Counter(reasons)
    (worst,) = [reason for reason in reasons if f"are {reason}, such as" in message][:1]
    newest = max(n for n, reason in enumerate(reasons) if reason == worst) + 70
    assert counts[worst] == max(counts.values())
    assert f"{counts[worst]} of them are {worst}, such as shop.events/2 offset {newest}: why {newest}" in message
    assert ("6 records of shop.events/2 in a row" if row else "6 of the last 6 records") in message
    assert ("NEXTACT_DEAD_LETTERS_CONSECUTIVE (5)" if row else "NEXTACT_DEAD_LETTERS_RATIO (0.8)") in message
    assert raised.value.exit_code == DataPathError.exit_code == 70


def test_the_window_forgets_the_reasons_that_left_it() -> None:
    counted = DeadLetterLimits(limits(0, 0.5, 4))
    count(counted, [*[TakenRecord(0, "empty")] * 2, *[TakenRecord(0, None)] * 4])
    count(counted, [*[TakenRecord(0, "empty")] * 2, *[TakenRecord(0, None)] * 4])
    with pytest.raises(TooManyDeadLetters, match="3 of the last 4 records are not events: 3 of them are not_json"):
        count(counted, [TakenRecord(0, "not_json")] * 3)


def test_a_new_generation_begins_to_count_again() -> None:
    counted = DeadLetterLimits(limits(3, 0.7, 4))
    count(counted, [TakenRecord(0, "empty")] * 3)
    count(counted, [TakenRecord(0, "empty")] * 2, generation=2)
    count(counted, [TakenRecord(1, "empty")], generation=2)
    with pytest.raises(TooManyDeadLetters, match="4 of the last 4 records"):
        count(counted, [TakenRecord(1, "empty")], generation=2)


def test_a_thousand_in_a_row_are_allowed_by_default() -> None:
    counted = DeadLetterLimits(load_settings())
    for start in range(0, 20_000, 2000):
        good = [TakenRecord(n % 8, None) for n in range(1000)]
        count(counted, [*good, *[TakenRecord(1, "not_json")] * 1000], first=start)
