"""Sections of columns and of others lie in the order of their tags, however they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.state.sections import check_sections, joined_sections, split_sections
from model.state.user_columns import Sections, in_order_of_tags, no_sections

USERS = 3
OWN = st.lists(st.none() | st.binary(max_size=5), min_size=USERS, max_size=USERS)
OTHERS = st.lists(
    st.dictionaries(st.sampled_from([2, 5, 6, 9, 0xFFFF]), st.binary(max_size=5)), min_size=USERS, max_size=USERS
)


def packed(tag: int, contents: list[bytes | None]) -> Sections:
    data = [joined_sections({} if content is None else {tag: content}) for content in contents]
    return np.frombuffer(bytearray(b"".join(data)), np.uint8), np.cumsum([0, *map(len, data)])


@settings(deadline=None)
@given(OWN, OWN, OTHERS | st.just([]))
def test_sections_are_in_the_order_of_their_tags(
    third: list[bytes | None], seventh: list[bytes | None], others: list[dict[int, bytes]]
) -> None:
    text, starts = in_order_of_tags([(0, no_sections(USERS)), (3, packed(3, third)), (7, packed(7, seventh))], others)
    for user in range(USERS):
        data = text[starts[user] : starts[user + 1]].tobytes()
        check_sections(data, 0)
        own = {tag: content for tag, content in ((3, third[user]), (7, seventh[user])) if content is not None}
        assert split_sections(data) == own | (others[user] if others else {})
