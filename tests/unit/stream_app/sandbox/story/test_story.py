"""Who was right, whatever comes first; an oracle that looks at the whole log says the same."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.sandbox.story.outcomes import TELLERS
from stream_app.sandbox.story.seen_events import SeenEvent
from stream_app.sandbox.story.story import Story
from tests.unit.builders.stories import HOUR, said, seen

KINDS = ("view", "cart", "remove")
LOG = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from([None, "a", "b", "c", "d"]),
        st.sampled_from(KINDS),
        st.sampled_from([None, "1", "2"]),
    ),
    max_size=25,
)


def oracle(events: list[SeenEvent], named: dict[int, list[str]], begin: int) -> list[tuple[str, str, bool, bool, bool]]:
    """User, item, whether it was named, and whether user and item are new, of each target; looks at everything."""
    steps = [
        event
        for number, event in enumerate(events)
        if event.event_id is None
        or not any((other.user, other.event_id) == (event.user, event.event_id) for other in events[:number])
    ]
    before_live = [event for event in steps if event.place.offset < begin]
    found = []
    for number, event in enumerate(steps):
        earlier = [other for other in steps[:number] if other.user == event.user]
        if not earlier or event.item is None or event.type == "remove" or event.place.offset < begin:
            continue
        hit = event.item in named[earlier[-1].place.offset]
        new_user = event.user not in {other.user for other in before_live}
        found.append((event.user, event.item, hit, new_user, event.item not in {other.item for other in before_live}))
    return found


@given(LOG, st.data())
def test_it_counts_what_an_oracle_counts_in_whatever_order_it_reads(log: list[Any], data: st.DataObject) -> None:
    events = [seen(user, item, n, kind=kind, event_id=event_id) for n, (user, item, kind, event_id) in enumerate(log)]
    begin = data.draw(st.integers(0, len(events)))
    rng = random.Random(data.draw(st.integers(0, 99)))
    named = {n: rng.sample(["a", "b", "c", "d"], 2) for n in range(len(events))}
    story, counted = Story(random.Random(0)), list[Any]()
    story.outcomes = SimpleNamespace(add=counted.append)  # type: ignore[assignment]
    waiting = list(events)  # whose predictions were not read yet
    for event in [*events[:begin], None, *events[begin:]]:
        if event is None:
            while waiting and waiting[0].place.offset < begin:  # the past is read to its end
                story.take_prediction(said(waiting[0], named[waiting.pop(0).place.offset]))
            story.begin_live()
            continue
        while waiting and rng.random() < 0.5:  # some come before their events are read, some long after
            story.take_prediction(said(waiting[0], named[waiting.pop(0).place.offset]))
        story.take_event(event)
    for event in waiting:
        story.take_prediction(said(event, named[event.place.offset]))
    wanted = oracle(events, named, begin)
    of_all = [(one.user, one.found["nextact"], one.new_user, one.new_item) for one in counted]
    assert sorted(of_all) == sorted((user, hit, new_user, new_item) for user, _, hit, new_user, new_item in wanted)
    assert not story._waiting


def test_a_prediction_that_comes_again_counts_once() -> None:
    story = Story(random.Random(0))
    story.begin_live()
    first, second = seen("u", "a", 0), seen("u", "b", 1)
    story.take_event(first)
    story.take_prediction(said(first, ["b"]))
    story.take_prediction(said(first, ["b"]))
    story.take_event(second)
    story.take_prediction(said(first, ["b"]))
    story.take_event(seen("u", "c", 2))
    story.take_prediction(said(second, ["b"]))
    assert len(story.outcomes) == 2


def test_rules_popularity_and_the_shops_own_lists_are_scored_on_the_same_targets() -> None:
    shown = {"u": ("d", "c")}
    asked = []

    def rival(user: str, time: int) -> Any:
        asked.append((user, time))
        return shown.get(user)

    story = Story(random.Random(0), rival=rival, categories=lambda item: f"kind of {item}")
    story.begin_live()
    log = [seen("u", "a", 0), seen("u", "b", 1), seen("v", "a", 2), seen("v", "b", 3), seen("u", "c", 4, category="C")]
    for event in log:
        story.take_event(event)
        story.take_prediction(said(event, ["c"]))
    columns = story.outcomes.columns()
    assert asked == [("u", HOUR), ("v", 3 * HOUR), ("u", 4 * HOUR)]
    assert {teller: columns.hits(teller).tolist() for teller in TELLERS} == {
        "nextact": [0, 0, 1],
        "rival": [0, 0, 1],
        "rules": [0, 1, 0],  # after a, u went on to b
        "popularity": [0, 1, 0],
    }
    assert columns.flag(3).tolist() == [True, False, True]
    assert story.outcomes.categories == ["kind of b", "C"]


@pytest.mark.parametrize("trained", [True, False])
def test_what_the_rules_answered_before_the_first_version_counts_only_where_there_was_none(trained: bool) -> None:
    story = Story(random.Random(0))
    story.begin_live()
    for number, item in enumerate("abcd"):
        event = seen("u", item, number)
        story.take_event(event)
        version = "v1" if trained and number == 2 else "baseline"
        story.take_prediction(said(event, ["d"], version))
    columns = story.outcomes.columns()
    assert (columns.trained, len(columns)) == ((True, 1) if trained else (False, 3))
    assert [len(path) for path in story.paths.shown()] == ([1] if trained else [3])
