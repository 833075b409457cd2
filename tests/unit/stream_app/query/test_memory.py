"""The newest published answer of each user, until a rebalance; against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.pipeline.batch_result import BatchResult
from stream_app.query.memory import AnswersInMemory, PublishedAnswer
from tests.unit.builders.questions import published

BATCHES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=4)), min_size=1))
)


@given(BATCHES, st.integers(1, 8), st.booleans())
def test_the_newest_of_the_users_who_were_answered_last(
    batches: list[tuple[int, list[tuple[str, bytes]]]], most: int, at_once: bool
) -> None:
    memory = AnswersInMemory(most)
    memory.resume([0, 1, 2])
    assert memory.newest(1) == []
    oracle: dict[str, tuple[int, bytes, int]] = {}
    for partition, answers in batches:
        times = list(range(len(oracle), len(oracle) + len(answers)))
        memory.note(published(partition, answers, times))
        for (user, value), time in zip(answers, times, strict=True):
            oracle.pop(user, None)
            oracle[user] = (partition, value, time)
        if at_once:
            memory.take_in()
    newest = list(reversed(oracle.items()))[:most]
    assert memory.newest(100) == newest
    assert memory.newest(2) == newest[:2]
    for user in "abcdef":
        assert memory.find(user) == dict(newest).get(user)


def test_a_rebalance_forgets_what_another_worker_may_have_answered_since() -> None:
    memory = AnswersInMemory(10)
    assert memory.find("u") is None
    memory.note(published(0, [("u", b"too early")]))
    memory.resume([0, 3])
    assert memory.partitions == frozenset([0, 3])
    assert memory.find("u") is None
    memory.note(published(0, [("u", b"1")], [5]))
    assert memory.find("u") == PublishedAnswer(0, b"1", 5)
    memory.pause()
    memory.note(published(0, [("u", b"2")]))
    assert (memory.find("u"), memory.newest(9)) == (None, [])
    memory.resume([0])
    assert memory.find("u") is None


def test_what_has_no_values_is_passed_over() -> None:
    memory = AnswersInMemory(10)
    memory.resume([0])
    memory.note(BatchResult(0, "rules"))
    assert memory.newest(1) == []


def test_a_batch_is_let_go_of_when_it_was_taken_in() -> None:
    memory = AnswersInMemory(10)
    memory.resume([0])
    result = published(0, [("u", b"1")])
    assert memory.find("u") is None
    memory.note(result)
    memory.take_in()
    answer = memory.find("u")
    assert answer is not None
    assert result.published is not None
    assert type(answer.value) is bytes
    assert memory._known is not None
    assert not memory._known.noted


def test_nothing_is_kept_before_somebody_asks() -> None:
    memory = AnswersInMemory(10)
    memory.resume([0])
    for number in range(3):
        memory.note(published(0, [("u", b"%d" % number)]))
        memory.take_in()
    assert memory._known is not None
    assert not memory._known.noted
    assert memory.find("u") is None
    memory.note(published(0, [("u", b"3")], [5]))
    assert memory.find("u") == PublishedAnswer(0, b"3", 5)
