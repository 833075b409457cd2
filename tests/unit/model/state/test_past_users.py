"""Users of a shop's past, against the engine of a worker that gets the same events as a stream."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builders.basics import CPU, LENGTH, make_states
from tests.unit.builders.past import HOUR, Drawn, facts, log_of, past_of, stream, take

_EVENTS = st.tuples(
    st.sampled_from("uvw"),
    st.sampled_from(["view", "purchase", "search"]),
    st.sampled_from("abcde"),
    st.sampled_from([None, "s1", "s2"]),
    st.sampled_from([None, *(f"e{n}" for n in range(6))]),
    st.sampled_from([0, 1000, 20_000, HOUR, 80 * HOUR]),  # since the event before
    st.integers(1, 3),  # lines
)
EVENTS = st.lists(_EVENTS, max_size=30)


@settings(max_examples=60, deadline=None)
@given(EVENTS, EVENTS)
def test_users_are_as_if_their_past_had_been_streamed_first(
    before: list[Drawn],
    after: list[Drawn],
) -> None:
    streamed, imported = make_states(CPU), make_states(CPU)
    past, live = log_of(before, 10**12), log_of(after, 10**12 + 10**11)
    stream(streamed, past)
    stream(streamed, live, len(before))
    if past[0]:
        take(imported, past_of(*past, length=LENGTH), len(before))
    stream(imported, live)
    for user in "uvw":
        assert facts(imported, user) == facts(streamed, user)
    keys = imported.histories.item_keys
    words = {int(key) for key in imported.searches.table.queries.keys}
    assert {int(key) for key in streamed.searches.table.queries.keys if key in keys} <= words


def test_a_file_in_any_order_is_read_by_time() -> None:
    events, times, lines = log_of([("u", "view", item, None, None, 1000, 2) for item in "abc"], 10**12)
    backwards = [4, 5, 2, 3, 0, 1]
    other = past_of(
        [events[n] for n in backwards], [times[n] for n in backwards], [lines[n] for n in backwards], length=LENGTH
    )
    one = past_of(events, times, lines, length=LENGTH)
    assert np.array_equal(one.item_keys, other.item_keys)
    assert np.array_equal(one.contexts, other.contexts)


def test_parts_have_all_users_once_with_the_words_of_their_searches() -> None:
    kinds = [("u", "search"), ("v", "view"), ("w", "search")]
    events, times, lines = log_of([(user, kind, user, None, None, 1000, 3) for user, kind in kinds], 10**12)
    whole = past_of(events, times, lines, length=LENGTH)
    for most_users, most_actions in ((1, 99), (99, 1), (2, 99), (99, 99), (2, 4)):
        parts = list(whole.parts(most_users, most_actions))
        assert [user for part in parts for user in part.users] == whole.users
        assert np.concatenate([part.item_keys for part in parts]).tolist() == whole.item_keys.tolist()
        assert all(part.starts[0] == 0 and part.starts[-1] == len(part.item_keys) for part in parts)
        assert [len(part.queries) for part in whole.parts(1, 99)] == [1, 0, 1]
