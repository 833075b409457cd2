"""The demo's headline, in words."""

from __future__ import annotations

from stream_app.contract.demo.headline import Headline, TellerShare
from stream_app.page.headline_view import headline_view
from stream_app.page.panels import panel


def test_before_anything_was_counted_there_is_none() -> None:
    assert headline_view(None) is None
    assert headline_view(Headline(0, True, [])) is None
    assert panel("headline", headline=None).strip() == ""


def test_each_has_a_share_and_its_interval() -> None:
    headline = Headline(
        12_000, True, [TellerShare("nextact", 0.8123, 0.80, 0.825), TellerShare("<b>", 0.4, 0.39, 0.41)]
    )
    view = headline_view(headline)
    assert view is not None
    assert (view.targets, view.note) == ("12,000", "Intervals of 95 %, over users.")
    first = view.rows[0]
    assert (first.name, first.value, first.interval) == ("nextact", "81.2 %", "80.0 to 82.5 %")
    assert (first.width, first.low, first.span) == (81.2, 80.0, 2.5)
    html = panel("headline", headline=view)
    assert "Of the last 12,000 next items" in html
    assert "simulated shop" in html
    assert "&lt;b&gt;" in html


def test_a_note_stands_with_it() -> None:
    view = headline_view(Headline(1, False, [], "no version is trained yet"))
    assert view is not None
    assert view.note == "No version is trained yet. Intervals of 95 %, over users."
    assert "simulated shop" not in panel("headline", headline=view)
