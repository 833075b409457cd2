"""The section's bytes, read by its documented layout, and what is read back of any bytes."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from model.profile.counting import BANDS, ENTRIES, Counts, no_counts
from model.profile.preference_section import MISSING, read, written
from model.state.sections import PREFERENCES, split_sections

WEIGHTS = st.floats(0.125, 100, width=32)


@st.composite
def any_counts(draw: st.DrawFn) -> Counts:
    counts = no_counts(2)
    for slot in range(2):
        for field in range(2):
            size = draw(st.integers(0, ENTRIES))
            counts.keys[slot, field, :size] = draw(npst.arrays(np.uint64, size, elements=st.integers(1, 2**64 - 1)))
            counts.weights[slot, field, :size] = draw(npst.arrays(np.float32, (size, 3), elements=WEIGHTS))
        if draw(st.booleans()):
            counts.bands[slot] = draw(npst.arrays(np.float32, (BANDS, 3), elements=WEIGHTS))
            counts.currencies[slot] = draw(st.integers(0, 2**64 - 1))
    return counts


def contents_of(counts: Counts, actions: list[int]) -> list[bytes]:
    text, starts = written(counts, np.arange(2), np.array(actions, np.int64))
    sections = [text[begin:end].tobytes() for begin, end in pairwise(starts)]
    return [split_sections(section).get(PREFERENCES, b"") for section in sections]


@settings(deadline=None)
@given(any_counts(), st.lists(st.integers(0, 2**40), min_size=2, max_size=2))
def test_counts_are_written_as_documented_and_read_back(counts: Counts, actions: list[int]) -> None:
    contents = contents_of(counts, actions)
    for slot, content in enumerate(contents):
        sizes = (counts.keys[slot] != 0).sum(1).tolist()
        banded = bool(counts.bands[slot].any())
        if not any(sizes) and not banded:
            assert content == b""
            continue
        assert struct.unpack_from("<QBBB", content) == (actions[slot], *sizes, banded)
        entries = [
            (int(key), *weights.tolist())
            for field, size in enumerate(sizes)
            for key, weights in zip(counts.keys[slot, field, :size], counts.weights[slot, field], strict=False)
        ]
        end = 11 + 20 * len(entries)
        assert list(struct.iter_unpack("<Q3f", content[11:end])) == entries
        rest = struct.unpack("<15fQ", content[end:]) if banded else ()
        assert list(rest) == [*counts.bands[slot].reshape(-1).tolist(), int(counts.currencies[slot])] * banded
    again = no_counts(2)
    found = read(contents, np.arange(2), again)
    assert found.tolist() == [number if content else MISSING for number, content in zip(actions, contents, strict=True)]
    kept = [n for n in range(2) if contents[n]]
    assert again.keys[kept].tobytes() == counts.keys[kept].tobytes()
    assert again.weights[kept].tobytes() == counts.weights[kept].tobytes()
    assert again.bands[kept].tobytes() == counts.bands[kept].tobytes()


@settings(deadline=None)
@given(any_counts(), st.integers(0, 600), st.binary(max_size=40))
def test_other_bytes_are_no_counts(counts: Counts, cut: int, rest: bytes) -> None:
    content = contents_of(counts, [7, 7])[0]
    spoiled = content[:cut] + rest
    again = no_counts(1)
    found = read([spoiled], np.zeros(1, np.int64), again)[0]
    assert found == MISSING or len(spoiled) >= 11
    if found == MISSING:
        assert not any(array.any() for array in again)
