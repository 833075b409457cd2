"""Repeated event ids against a set of pairs, the log cut anywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.data.deduplicate import Deduplicator
from model.data.events import Event, actions_of, concatenate

LOGS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.sampled_from("12345")), max_size=30)


@given(LOGS, st.integers(1, 9))
def test_a_users_event_id_counts_once_however_the_log_is_cut(log: list[tuple[str, str | None]], size: int) -> None:
    events = [Event(user, "view", f"item {n}", event_id=event_id) for n, (user, event_id) in enumerate(log)]
    repeats = Deduplicator()
    parts = [actions_of(part, [0] * len(part)) for part in (events[n : n + size] for n in range(0, len(log), size))]
    found = concatenate([repeats.without_repeats(part) for part in parts])
    firsts = {(user, event_id or n): n for n, (user, event_id) in reversed(list(enumerate(log)))}
    assert found.items == [f"item {n}" for n in sorted(firsts.values())]
