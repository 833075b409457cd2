"""The line for a terminal, and the same figures for programs."""

from __future__ import annotations

import random

from stream_app.sandbox.story.headline import figures, headline, page_headline, points, tellers_of
from stream_app.sandbox.story.outcomes import Share
from stream_app.sandbox.story.story import Story
from tests.unit.builders.stories import told_story


def test_it_says_how_often_each_was_right_with_intervals() -> None:
    line = headline(told_story(), simulated=False)
    assert line.startswith(
        "of the last 150 next items, found among 20: nextact 40.0 % (32.5-48.0), rules that learn live"
    )
    assert "popularity" in line
    assert "shows today" not in line
    assert "what the shop shows today 0.0 %" in headline(told_story(rival=lambda *_: ["x"]), simulated=False)


def test_the_simulated_shop_is_named() -> None:
    assert headline(told_story(), simulated=True).startswith("simulated shop: of the last 150")


def test_before_anything_is_counted_it_says_nothing() -> None:
    assert headline(Story(random.Random(0)), simulated=True) == ""


def test_it_says_where_only_the_rules_answered() -> None:
    assert "no version is trained yet" in headline(told_story(version="baseline"), simulated=False)


def test_the_page_gets_the_same() -> None:
    found = page_headline(told_story(), simulated=True)
    assert found is not None
    assert (found.targets, found.simulated, found.note) == (150, True, "")
    assert [one.name for one in found.tellers] == ["nextact", "rules that learn live", "popularity"]
    assert found.tellers[0].share == 0.4
    assert page_headline(Story(random.Random(0)), simulated=True) is None
    untrained = page_headline(told_story(version="baseline"), simulated=False)
    assert untrained is not None
    assert "No version is trained yet" in untrained.note


def test_figures_are_shares() -> None:
    story = told_story(rival=lambda *_: ["x"])
    found = figures(story.outcomes.columns(), tellers_of(story))
    assert found["targets"] == 150
    assert found["nextact"] == {"share": 0.4, "low": 0.325, "high": 0.48}
    assert found.keys() == {"targets", "nextact", "rival", "rules", "popularity"}
    assert points(Share(0.1, -0.05, 0.25, 9)) == "+10.0 points (-5.0 to +25.0)"
