"""Every class of the report has its look, and text can be read in light and dark."""

from __future__ import annotations

import re

import pytest

from stream_app.sandbox.story.report import Frame, report_html
from stream_app.sandbox.story.style import STYLE
from tests.unit.builders.stories import told_story


def colours(scheme: str) -> dict[str, str]:
    parts = re.findall(r":root\{(.*?)\}", STYLE, re.S)
    return dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", parts[scheme == "dark"]))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(scheme: str) -> None:
    found = colours(scheme)
    for ink, paper in (("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("hit-ink", "hit")):
        assert contrast(found[ink], found[paper]) >= 4.5, (ink, paper)
    for mark in ("nextact", "rival"):  # which are text too
        assert contrast(found[mark], found["page"]) >= 4.5
        assert contrast(found[mark], found["card"]) >= 4.5
    for bar in ("rules", "popularity"):
        assert contrast(found[bar], found["card"]) >= 3


def test_every_class_is_styled() -> None:
    page = report_html(told_story(rival=lambda *_: ["x"]), Frame("", "now", {"a": "b"}, str))
    used = {name for group in re.findall(r'class="?([a-z -]+?)"?[ >]', page) for name in group.split()}
    assert used - {"missed", "other"} <= set(re.findall(r"\.([a-z]+)", STYLE))
