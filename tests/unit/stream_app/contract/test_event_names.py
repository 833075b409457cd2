"""What names of events mean: one thing each, in lower case."""

from __future__ import annotations

import pytest

from model.data.events import EVENT_TYPES
from stream_app.contract.event_names import (
    GA4_IGNORED_NAMES,
    IDENTITY_NAMES,
    IGNORED_NAMES,
    MEANINGS,
    SHOWN_NAMES,
    TYPE_NAMES,
)


def test_a_name_means_one_thing() -> None:
    groups = (set(TYPE_NAMES), SHOWN_NAMES, IDENTITY_NAMES, IGNORED_NAMES)
    assert sum(map(len, groups)) == len(MEANINGS)
    assert set(MEANINGS.values()) == {*EVENT_TYPES, "shown", "identify", "ignored"}


def test_names_are_in_lower_case() -> None:
    assert all(name == name.casefold().strip() for name in (*MEANINGS, *GA4_IGNORED_NAMES))


@pytest.mark.parametrize("name", ["page_view", "scroll", "session_start", "first_visit", "user_engagement", "page"])
def test_noise_is_ignored(name: str) -> None:
    assert MEANINGS[name] == "ignored"


@pytest.mark.parametrize("name", ["begin_checkout", "view_cart", "checkout started", "coupon entered", "refund"])
def test_steps_of_a_sale_that_are_no_action_are_ignored(name: str) -> None:
    assert MEANINGS[name] == "ignored"
