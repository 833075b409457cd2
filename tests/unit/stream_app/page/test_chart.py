"""The picture of hit rates over time."""

from __future__ import annotations

import re
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from stream_app.page.chart import HEIGHT, WIDTH, draw_chart
from stream_app.page.tallies import HitPoint, Moment


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_without_points_it_is_empty() -> None:
    chart = draw_chart([], [Moment(5.0, "promoted", "v")], UTC)
    assert (chart.empty, chart.model, chart.marks) == (True, "", [])
    assert chart.summary == "No next item has been scored yet."


def test_a_higher_rate_is_higher_and_a_later_one_further_right() -> None:
    points = [HitPoint(600.0 + 5 * number, 0.5 + 0.001 * number, 0.4) for number in range(100)]
    chart = draw_chart(points, [], UTC)
    model, rules = places(chart.model), places(chart.rules)
    assert model == sorted(model, key=lambda place: (place[0], -place[1]))
    for (x_model, y_model), (x_rules, y_rules) in zip(model, rules, strict=True):
        assert x_model == x_rules
        assert y_model < y_rules
    assert model[-1][0] == WIDTH
    assert [level.words for level in chart.levels] == ["20 %", "40 %", "60 %", "80 %"]


def test_where_nothing_is_known_the_line_has_a_gap() -> None:
    rates = [0.5, 0.5, None, 0.5, 0.5]
    points = [HitPoint(1000.0 + 5 * number, rate, None) for number, rate in enumerate(rates)]
    assert draw_chart(points, [], UTC).model.count("M") == 2


def test_moments_are_marked_where_they_lie_in_time() -> None:
    points = [HitPoint(float(at), 0.8, 0.6) for at in range(0, 1005, 5)]
    moments = [Moment(100.0, "promoted", "v1"), Moment(500.0, "rolled back", "v0"), Moment(510.0, "promoted", "v2")]
    chart = draw_chart(points, moments, UTC)
    assert [(mark.x, mark.sign, mark.words) for mark in chart.marks] == [
        (100.0, "↑", "promoted"),
        (500.0, "", ""),  # the next one is so near that they would cover each other
        (510.0, "↑", "promoted"),
    ]
    assert "Version v0 rolled back at 00:08:20." in chart.summary
    assert "the model found 80.0 % of the next items, the rules 60.0 %" in chart.summary


def test_a_moment_after_the_last_point_is_on_the_picture() -> None:
    points = [HitPoint(1000.0, None, 0.6), HitPoint(1200.0, None, 0.6)]
    chart = draw_chart(points, [Moment(1203.0, "promoted", "v1")], UTC)
    assert [mark.x for mark in chart.marks] == [WIDTH]
    assert places(chart.rules)[-1][0] < WIDTH


def test_a_line_that_has_just_begun_grows_to_the_right() -> None:
    points = [HitPoint(1000.0, None, 0.6), HitPoint(1018.0, None, 0.6)]
    assert [x for x, _ in places(draw_chart(points, [], UTC).rules)] == [0.0, 100.0]


RATES = st.one_of(st.none(), st.floats(0.0, 1.0))


@given(st.lists(st.tuples(RATES, RATES), min_size=1, max_size=700), st.floats(0, 2e9))
def test_everything_is_within_the_picture(rates: list[tuple[float | None, float | None]], start: float) -> None:
    points = [HitPoint(start + 5.0 * number, model, rules) for number, (model, rules) in enumerate(rates)]
    chart = draw_chart(points, [Moment(points[len(points) // 2].at, "promoted", "v")], UTC)
    for x, y in places(chart.model) + places(chart.rules):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert len(places(chart.model)) <= 240
    assert 3 <= len(chart.levels) <= 6
    assert len(chart.times) <= 6
    assert all(0 <= tick.place <= 100 for tick in [*chart.levels, *chart.times])
    assert len(chart.marks) == 1
