"""Repeated event ids against a set of pairs, the log cut anywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.data.deduplicate import Deduplicator
from model.data.events import Event, actions_of, concatenate

LOGS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.sampled_from("12345"), st.integers(1, 3)), max_size=30)


@given(LOGS, st.integers(1, 9))
def test_a_users_event_id_counts_once_however_the_log_is_cut(log: list[tuple[str, str | None, int]], size: int) -> None:
    """The lines of an event share its id; they stay or go together, even where a part ends between them."""
    lines = [line for _, _, count in log for line in range(count)]
    events = [
        Event(user, "view", f"item {n}.{line}", event_id=event_id)
        for n, (user, event_id, count) in enumerate(log)
        for line in range(count)
    ]
    repeats = Deduplicator()
    parts = [
        actions_of(events[n : n + size], [0] * len(events[n : n + size]), lines[n : n + size])
        for n in range(0, len(events), size)
    ]
    found = concatenate([repeats.without_repeats(part) for part in parts])
    firsts = {(user, event_id or n): n for n, (user, event_id, _) in reversed(list(enumerate(log)))}
    assert found.items == [f"item {n}.{line}" for n in sorted(firsts.values()) for line in range(log[n][2])]


def test_lines_without_the_beginning_of_their_event_go() -> None:
    """The log was cut inside of it: an event counts as a whole or not at all."""
    events = [Event("u", "view", item) for item in "abcd"]
    found = Deduplicator().without_repeats(actions_of(events, [0] * 4, [2, 3, 0, 1]))
    assert found.items == ["c", "d"]
