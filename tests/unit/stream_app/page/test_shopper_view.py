"""What the view of a shopper says, in words."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_app.contract.questions.answers import UserAnswer
from stream_app.page.shopper_view import SeenAnswers, ShopperView, identity, shopper_view
from tests.unit.builders.pretend_worker import answer


def decoded(said: dict[str, Any]) -> UserAnswer:
    return msgspec.convert(said, UserAnswer)


def view(said: dict[str, Any], seen: SeenAnswers | None = None) -> ShopperView:
    return shopper_view(decoded(said), seen or SeenAnswers())


def test_items_have_their_titles_and_those_without_their_ids() -> None:
    shown = view(answer("ada"))
    assert [item.name for item in shown.items] == ["Road runner 7", "sock-1"]
    assert [(bar.also, bar.name, bar.value) for bar in shown.next_actions] == [
        ("click", "Road runner 7", "31.0 %"),
        ("", "search for something", "12.0 %"),
    ]


def test_a_bar_is_as_long_as_the_action_is_probable() -> None:
    assert [bar.width for bar in view(answer("ada")).next_actions] == [31.0, 12.0]


def test_past_actions_are_told_newest_first() -> None:
    said = answer("ada", actions=2)
    said["history"] = [
        {"type": "search", "query": "red shoes", "seconds_before": 0.0},
        {"type": "purchase", "item_id": "s", "title": "Sock", "category": "Clothes > Socks", "seconds_before": 75.0},
        {"type": "search"},
        {"type": "view"},
        {"type": "swipe", "item_id": "x", "seconds_before": 0.2},
    ]
    assert [(step.did, step.item, step.also, step.before) for step in view(said).steps] == [
        ("searched for", "“red shoes”", "", "just before"),
        ("bought", "Sock", "Socks", "1 min 15 s before"),
        ("searched for", "something", "", "earlier"),
        ("viewed", "an item without a name", "", "earlier"),
        ("swipe", "x", "", "just before"),
    ]


def test_what_arrived_since_the_last_look_is_marked() -> None:
    seen = SeenAnswers()
    first = view(answer("ada", actions=3), seen)
    assert ([step.new for step in first.steps], first.said) == ([False] * 3, "")
    assert not any(item.new for item in first.items)
    changed = answer(
        "ada", actions=5, recommendations=[{"item_id": "new", "score": 1}, {"item_id": "sock-1", "score": 0}]
    )
    second = view(changed, seen)
    assert [step.new for step in second.steps] == [True, True, False, False, False]
    assert [item.new for item in second.items] == [True, False]
    assert second.said == "viewed item-5"
    third = view(changed, seen)
    assert not any(step.new for step in third.steps)


def test_bars_glide_from_where_they_were() -> None:
    seen = SeenAnswers()
    view(answer("ada", purchase_probability=0.25), seen)
    bar = view(answer("ada", purchase_probability=0.5), seen).chances[0]
    assert (bar.from_width, bar.width) == (25.0, 50.0)


def test_the_profile_in_words() -> None:
    shown = view(
        answer(
            "ada",
            preferences={
                "categories": [{"name": "Shoes > Running", "share": 0.4}],
                "brands": [{"name": "Roadster", "share": 0.3}],
                "price_band": {"low": 10, "currency": "EUR"},
            },
            segment={"id": 1, "name": "Runners", "fit": 0.9},
            leave_probability=0.1,
            return_probability=0.7,
            reasons=[{"item_id": "shoe-7", "because": [{"code": "goes_with", "weight": 0.5, "item_id": "sock-1"}]}],
        )
    )
    assert [(bar.name, bar.value) for bar in shown.chances] == [
        ("buys soon", "25.0 %"),
        ("leaves now", "10.0 %"),
        ("comes back", "70.0 %"),
    ]
    assert (shown.categories[0].name, shown.brands[0].value) == ("Running", "30.0 %")
    assert (shown.price_band, shown.segment, shown.fit) == ("10.00 and more EUR", "Runners", "90.0 %")
    assert shown.items[0].reasons == ["people look at it together with sock-1"]


def test_what_the_rules_say_has_names_too() -> None:
    assert view(answer("ada")).rules is None
    shown = view(answer("ada") | {"rules": ["sock-1", "shoe-7"]})
    assert shown.rules == ["sock-1", "Road runner 7"]
    assert (
        view(answer("ada", model_version="baseline") | {"rules": ["sock-1"]}).rules is None
    )  # they said it themselves


def test_a_price_band_without_bounds_says_nothing() -> None:
    bands: list[dict[str, float]] = [{"low": 1.0, "high": 2.5}, {"high": 2000}, {}]
    words = [view(answer("ada", preferences={"price_band": band})).price_band for band in bands]
    assert words == ["1.00 to 2.50", "up to 2,000.00", ""]


def test_without_a_profile_nothing_is_said() -> None:
    shown = view(answer("ada", model_version="baseline"))
    assert (shown.segment, shown.price_band, shown.categories, shown.brands) == ("", "", [], [])
    assert shown.answered_by == "the rules"
    assert (shown.actions, view(answer("ada", actions=70)).more_steps) == ("1 action", 58)


def test_an_answer_is_the_same_however_old_it_is() -> None:
    first, later = answer("ada"), answer("ada") | {"age_ms": 90_000, "rules": ["sock-1"]}
    assert identity(decoded(first)) == identity(decoded(later))
    assert (view(first).age, view(later).age) == ("812 ms", "1 min 30 s")
    assert identity(decoded(first)) != identity(decoded(answer("ada", actions=2)))
