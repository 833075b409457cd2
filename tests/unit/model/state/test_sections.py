"""Sections of a record: their bytes, and tags that are given out once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RecordCorrupt
from model.state.sections import HIGHEST_TAG, TAGS, check_sections, joined_sections, split_sections

SECTIONS = st.dictionaries(st.integers(1, HIGHEST_TAG), st.binary(max_size=300), max_size=5)


def test_no_tag_is_given_out_twice_or_changes() -> None:
    assert TAGS == {"searches": 1, "joins": 2, "preferences": 3, "segment": 4, "timers": 5}


@given(SECTIONS, st.binary(max_size=9))
def test_sections_come_back_in_order_of_their_tags(sections: dict[int, bytes], before: bytes) -> None:
    data = joined_sections(sections)
    check_sections(before + data, len(before))
    assert split_sections(data) == sections
    assert list(split_sections(data)) == sorted(sections)


@given(SECTIONS.filter(bool))
def test_what_is_cut_or_goes_on_is_found(sections: dict[int, bytes]) -> None:
    data, whole = joined_sections(sections), set()
    for tag in sorted(sections):
        whole.add(len(joined_sections({known: sections[known] for known in sections if known < tag})))
    for end in range(1, len(data)):
        if end not in whole:
            with pytest.raises(RecordCorrupt):
                split_sections(data[:end])
    with pytest.raises(RecordCorrupt, match="come"):
        split_sections(data + joined_sections({max(sections): b""}))


@given(st.binary(max_size=40))
def test_any_bytes_are_sections_or_a_fault(data: bytes) -> None:
    try:
        sections = split_sections(data)
    except RecordCorrupt:
        return
    assert joined_sections(sections) == data
