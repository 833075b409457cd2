"""A past that is taken into what users have already: a twin that walks through plain lists is the oracle."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.contexts import gap_bucket_of, unpack_contexts
from model.data.events import NO_TIME, SESSION_GAP_MS, Event
from model.state.join_notes import notes_of
from model.state.merged_sequences import UserSequence
from model.state.past_users import PastUsers
from model.state.taken_past import FILES, take_past
from model.state.user_states import UserStates
from tests.unit.builders.basics import CPU, LENGTH, make_states
from tests.unit.builders.past import HOUR, SOURCE, Drawn, facts, log_of, past_of, stream, take

BEGIN = 10**12
DRAWN = st.lists(
    st.tuples(
        st.just("u"),
        st.sampled_from(["view", "purchase"]),
        st.sampled_from("abcde"),
        st.sampled_from([None, "s1", "s2"]),
        st.none(),
        st.sampled_from([0, 900, 20_000, HOUR]),
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=8,
)


def sequence_of(states: UserStates, user: str) -> UserSequence:
    slot = states.slots_of([0], [user])
    keys, contexts, sizes = states.histories.gather(slot)
    size = int(sizes[0])
    last = int(states.last_times[slot[0]])
    return UserSequence(keys[0, :size].copy(), contexts[0, :size].copy(), last, int(states.sessions[slot[0]]))


def twin(past: PastUsers, known: UserSequence) -> list[tuple[int, int, int]]:
    """Key, gap bucket and session boundary of all actions of both, oldest first."""
    moments = [(int(time), 0, n) for n, time in enumerate(past.times)]
    moments += [(int(time), 1, n) for n, time in enumerate(known.times())]
    moments.sort()
    out = []
    for place, (time, of, n) in enumerate(moments):
        keys, contexts = (past.item_keys, past.contexts) if of == 0 else (known.item_keys, known.contexts)
        fields = unpack_contexts(contexts[n : n + 1])
        gap, opens = int(fields.gaps[0]), int(fields.boundaries[0])
        before = moments[place - 1] if place else None
        if before and (before[1], before[2]) != (of, n - 1):
            gap = gap_bucket_of(time - before[0])
            own, earlier = sessions_of(past, known, of, n), sessions_of(past, known, *before[1:], carried=True)
            opens = int(own != earlier) if own and earlier else int(time - before[0] > SESSION_GAP_MS)
        out.append((int(keys[n]), gap, opens))
    return out


def sessions_of(past: PastUsers, known: UserSequence, of: int, n: int, *, carried: bool = False) -> int:
    if of == 0:
        given_ = [int(session) for session in past.action_sessions[: n + 1] if session] if carried else []
        return given_[-1] if given_ else int(past.action_sessions[n])
    last = n == len(known.item_keys) - 1
    return known.session if last and (carried or n == 0) else 0


@settings(max_examples=80, deadline=None)
@given(DRAWN, DRAWN, st.integers(-5, 5))
def test_past_and_what_is_there_are_merged_by_time(before: list[Drawn], live: list[Drawn], hours: int) -> None:
    states = make_states(CPU)
    stream(states, log_of(live, BEGIN + hours * HOUR))
    known, past = sequence_of(states, "u"), past_of(*log_of(before, BEGIN), length=LENGTH)
    count = facts(states, "u")["count"]
    states.weights_id[:] = 5
    assert take(states, past, len(before)) == [True]
    merged = sequence_of(states, "u")
    fields = unpack_contexts(merged.contexts)
    got = list(zip(merged.item_keys.tolist(), fields.gaps.tolist(), fields.boundaries.tolist(), strict=True))
    assert got == twin(past, known)[-LENGTH:]
    assert facts(states, "u")["count"] == count + past.counts[0]
    assert merged.last_time == max(known.last_time, int(past.last_times[0]))
    assert states.weights_id[states.slots_of([0], ["u"])[0]] == 0


def test_what_comes_again_changes_nothing_and_a_file_that_grew_adds_what_is_new() -> None:
    drawn = [("u", "view", item, "s1", f"id {item}", 60_000, 1) for item in "abcdefgh"]
    whole, again = make_states(CPU), make_states(CPU)
    take(whole, past_of(*log_of(drawn, BEGIN), length=LENGTH), 8)
    shorter = past_of(*log_of(drawn[:5], BEGIN), length=LENGTH)
    assert take(again, shorter, 5) == [True]
    after = facts(again, "u")
    assert take(again, shorter, 5) == [False]
    assert facts(again, "u") == after
    longer = past_of(*log_of(drawn, BEGIN), length=LENGTH)
    assert take(again, longer, 8) == [True]
    assert facts(again, "u") == facts(whole, "u")
    assert take(again, shorter, 5) == [False]  # a record that was under way all the time
    assert facts(again, "u") == facts(whole, "u")


def test_other_files_add_to_it_and_only_the_newest_are_remembered() -> None:
    states, drawn = make_states(CPU), [("u", "view", "a", None, None, 60_000, 1)]
    for source in range(FILES + 2):
        assert take(states, past_of(*log_of(drawn, BEGIN + source * HOUR), length=LENGTH), 1, source) == [True]
    assert facts(states, "u")["count"] == FILES + 2
    slot = int(states.slots_of([0], ["u"])[0])
    assert [one.source for one in notes_of(states, slot).past] == list(range(2, FILES + 2))


def test_an_unknown_last_time_is_after_all_of_the_past() -> None:
    states, past = make_states(CPU), past_of(*log_of([("u", "view", "a", None, None, 0, 1)], BEGIN), length=LENGTH)
    stream(states, ([Event(user_id="u", type="view", item_id="z")], [NO_TIME], [0]))
    take(states, past, 1)
    assert facts(states, "u")["last"] == BEGIN
    assert sequence_of(states, "u").item_keys[0] == past.item_keys[0]


def test_users_of_one_call_do_not_mix() -> None:
    states, alone = make_states(CPU), make_states(CPU)
    drawn = [(user, "view", item, None, f"{user}{item}", 1000, 2) for item in "abcd" for user in "uvw"]
    stream(states, log_of([("v", "view", "z", "s", None, 0, 1)], BEGIN + HOUR))
    stream(alone, log_of([("v", "view", "z", "s", None, 0, 1)], BEGIN + HOUR))
    past = past_of(*log_of(drawn, BEGIN), length=LENGTH)
    take(states, past, len(drawn))
    for part in past.parts(1, 99):
        take_past(alone, alone.slots_of([0], part.users), part, SOURCE, len(drawn))
    assert [facts(states, user) for user in "uvw"] == [facts(alone, user) for user in "uvw"]
