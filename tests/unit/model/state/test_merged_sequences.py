"""Merged sequences, against a twin that walks through plain lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.contexts import FIRST_GAP, gap_bucket_of, pack_context, unpack_contexts
from model.data.events import NO_TIME, SESSION_GAP_MS
from model.state.merged_sequences import TYPICAL_GAPS, UserSequence, merged

GAPS = st.lists(st.integers(0, FIRST_GAP - 1), max_size=12)
TIMES = st.integers(1_700_000_000_000, 1_700_000_900_000)


def sequence(gaps: list[int], last_time: int, first_key: int = 0, session: int = 0) -> UserSequence:
    """Actions of any fields beside the gap, on items numbered from `first_key` on."""
    contexts = [
        pack_context(n % 7, n % 3 == 0, n % 16, FIRST_GAP if n == 0 else gap, n % 1024, n % 512)
        for n, gap in enumerate(gaps)
    ]
    keys = np.arange(first_key, first_key + len(gaps), dtype=np.uint64)
    return UserSequence(keys, np.array(contexts, np.uint32), last_time, session)


def times_of(given_: UserSequence) -> list[int]:
    times, now = [], given_.last_time
    for gap in reversed(unpack_contexts(given_.contexts).gaps.tolist()):
        times.append(now)
        seconds = 0.0 if gap == 0 else 2 ** (0.8 * (min(gap, FIRST_GAP - 1) + 0.5)) - 1
        now -= math.floor(1000 * seconds)
    return times[::-1]


def twin(anonymous: UserSequence, known: UserSequence) -> list[tuple[int, int, bool]]:
    """Key, gap bucket and session boundary of all actions of both, oldest first."""
    left = [(time, 0, n) for n, time in enumerate(times_of(anonymous))]
    right = [(time, 1, n) for n, time in enumerate(times_of(known))]
    both, result = (anonymous, known), []
    line = sorted(left + right)  # by time, then the anonymous one, then its own order
    for place, (time, whose, n) in enumerate(line):
        fields = unpack_contexts(both[whose].contexts[n : n + 1])
        gap, opens = int(fields.gaps[0]), bool(fields.boundaries[0])
        if place and line[place - 1][1:] != (whose, n - 1):
            passed = time - line[place - 1][0]
            gap = min(math.floor(1.25 * math.log2(1 + passed / 1000) + 1e-12), FIRST_GAP - 1)
            opens = passed > 1_800_000
        result.append((int(both[whose].item_keys[n]), gap, opens))
    return result


@given(GAPS, TIMES, GAPS, TIMES, st.integers(1, 30))
def test_actions_of_both_stand_by_time_and_the_newest_stay(
    anonymous_gaps: list[int], anonymous_time: int, known_gaps: list[int], known_time: int, length: int
) -> None:
    anonymous = sequence(anonymous_gaps, anonymous_time, session=1)
    known = sequence(known_gaps, known_time, first_key=100, session=2)
    result = merged(anonymous, known, length)
    fields = unpack_contexts(result.contexts)
    found = list(zip(result.item_keys.tolist(), fields.gaps.tolist(), fields.boundaries.astype(bool), strict=True))
    assert found == twin(anonymous, known)[-length:]
    given_keys = [*anonymous.item_keys.tolist(), *known.item_keys.tolist()]
    whole = dict(zip(given_keys, [*anonymous.contexts, *known.contexts], strict=True))
    for key, context in zip(result.item_keys.tolist(), result.contexts, strict=True):
        for field in ("types", "prices", "categories", "brands"):
            assert getattr(unpack_contexts(context), field) == getattr(unpack_contexts(whole[key]), field)
    assert result.last_time == max(anonymous_time, known_time)
    assert result.session == (1 if anonymous_time > known_time else 2)


def test_sequences_that_do_not_overlap_follow_each_other_with_the_gap_between_them() -> None:
    known = sequence([0, 3, 3], 1_700_000_000_000, first_key=100)
    anonymous = sequence([0, 2, 2], 1_700_000_000_000 + 2 * SESSION_GAP_MS)
    result = merged(anonymous, known, 64)
    assert result.item_keys.tolist() == [100, 101, 102, 0, 1, 2]
    gap = 2 * SESSION_GAP_MS - 2 * int(TYPICAL_GAPS[2])
    fields = unpack_contexts(result.contexts)
    assert (fields.gaps[3], fields.boundaries[3]) == (gap_bucket_of(gap), 1)
    kept = [0, 1, 2, 4, 5]
    assert np.array_equal(result.contexts[kept], np.concatenate((known.contexts, anonymous.contexts))[kept])


@pytest.mark.parametrize("bare", ["anonymous", "known"])
def test_without_a_time_the_anonymous_sequence_is_the_beginning(bare: str) -> None:
    anonymous = sequence([0, 1], NO_TIME if bare == "anonymous" else 1_700_000_000_000)
    known = sequence([0, 1], NO_TIME if bare == "known" else 1_600_000_000_000, first_key=100)
    result = merged(anonymous, known, 64)
    assert result.item_keys.tolist() == [0, 1, 100, 101]
    assert result.last_time == max(anonymous.last_time, known.last_time)


def test_an_empty_sequence_changes_nothing() -> None:
    known, nothing = sequence([0, 3, 9], 1_700_000_000_000, session=7), sequence([], NO_TIME)
    result = merged(nothing, known, 64)
    assert np.array_equal(result.contexts, known.contexts)
    assert (result.last_time, result.session) == (known.last_time, 7)


@pytest.mark.parametrize("bucket", range(FIRST_GAP))
def test_a_typical_gap_lies_in_its_bucket(bucket: int) -> None:
    assert gap_bucket_of(int(TYPICAL_GAPS[bucket])) == bucket
