"""The report: whole, well-formed, self-contained, and nothing that comes from a log is markup in it."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser

import pytest

from stream_app.sandbox.story.report import Frame, report_html
from stream_app.sandbox.story.story import Story
from tests.unit.builders.stories import told_story

VOID = {"meta", "br"}
EVIL = "<script>alert(1)</script>\"'&"


class Tree(HTMLParser):
    """Checks that every element is closed in its turn, and gathers texts and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def frame(source: str = "log.csv", titles: dict[str, str] | None = None) -> Frame:
    return Frame(source, "Written now.", {"events": "1,234"}, lambda item: (titles or {}).get(item, ""))


def test_it_has_headline_categories_new_and_known_and_paths() -> None:
    story = told_story(rival=lambda user, _time: ["item 1"] if user < "user 2" else None)
    page = Tree(report_html(story, frame(titles={"item 1": "Road runner", "item 0": "Sock"})))
    assert "40.0 % of the next items were among the 20 that nextact named" in page.text
    for part in (
        "what the shop shows today",
        "rules that learn live",
        "popularity",
        "kind 3",
        "new shoppers, new items",
    ):
        assert part in page.text
    assert page.tags.count("details") == 20
    assert page.tags.count("tr") == 2 + 10 + 4
    assert "looked at Road runner, named as number 2" in page.text
    assert "people look at it together with Sock" in page.text
    assert "The shop had shown the shopper a list before" in page.text
    assert "log.csv" in page.text
    assert "simulated" not in page.text


def test_it_needs_nothing_else() -> None:
    raw = report_html(told_story(), frame())
    page = Tree(raw)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", raw)
    assert "prefers-color-scheme:dark" in raw


@pytest.mark.parametrize("text", [EVIL, "</details></style>"])
def test_what_comes_from_the_log_is_text(text: str) -> None:
    names = {f"item{text} {number}": f"{text} {number}" for number in range(5)}
    page = Tree(report_html(told_story(text=text), frame(f"log{text}.csv", names)))
    assert "script" not in page.tags
    assert f"user 0{text}" in page.text
    assert f"{text} 3" in page.text
    assert f"item{text} 7" in page.text
    assert f"log{text}.csv" in page.text


def test_the_simulated_shop_stands_beside_every_figure() -> None:
    page = Tree(report_html(told_story(), frame("")))
    headings = page.tags.count("h1") + page.tags.count("h2") + page.tags.count("summary")
    assert page.attributes.count(("class", "mark")) == headings == 1 + 4 + 20
    assert "A simulated shop, not a real one" in page.text


def test_a_run_that_counted_nothing_has_a_report_too() -> None:
    page = Tree(report_html(Story(random.Random(0)), frame()))
    assert "Nothing was counted yet" in page.text
    assert "details" not in page.tags


def test_it_says_where_no_version_was_trained() -> None:
    assert "No version was trained in this run" in report_html(told_story(version="baseline"), frame())
