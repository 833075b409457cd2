"""Views as HTML: nothing from outside becomes markup."""

from __future__ import annotations

import asyncio
from html.parser import HTMLParser
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.questions.answers import UserAnswer
from stream_app.page.live_view import live_view, status_view
from stream_app.page.observer import LastingTrouble, Observer
from stream_app.page.panels import panel, style
from stream_app.page.shopper_view import SeenAnswers, shopper_view
from stream_app.page.worker_client import Trouble, WorkerClient
from tests.unit.builders.pretend_worker import answer, metrics, pretend_worker

EVIL = "<img src=x onerror=alert(1)>\"'&"


class Tags(HTMLParser):
    """The tags of a page, and that each that is opened is closed."""

    VOID = frozenset({"br", "input", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evil_answer(evil: str) -> dict[str, Any]:
    said = answer(evil, actions=2, preferences={"categories": [{"name": evil, "share": 0.4}]})
    said["titles"] = {"shoe-7": evil}
    said["history"] = [
        {"type": evil, "title": evil, "item_id": "i", "category": evil},
        {"type": "search", "query": evil},
    ]
    said["prediction"]["segment"] = {"id": 1, "name": evil, "fit": 0.5}
    said["prediction"]["reasons"] = [{"item_id": "shoe-7", "because": [{"code": evil, "weight": 1.0}]}]
    return said


@given(st.just(EVIL) | st.text(min_size=1, max_size=30))
def test_what_shoppers_write_stays_text(evil: str) -> None:
    shopper = shopper_view(msgspec.convert(evil_answer(evil), UserAnswer), SeenAnswers())
    for name in ("who", "shopper"):
        tags = Tags(panel(name, shopper=shopper))
        assert not {"img", "script"} & set(tags.seen)
        assert evil.strip() in tags.text
    Tags(panel("search", user=evil))
    Tags(panel("nobody", user=evil, trouble=Trouble(evil, evil)))
    assert Tags(panel("said", words=evil)).text.strip() == evil.strip()


def test_a_trouble_says_what_since_when_and_what_to_do() -> None:
    status = status_view([LastingTrouble(Trouble(f"{EVIL} burns", "Run `nextact <x>`."), 0.0)])
    tags = Tags(panel("status", status=status))
    assert f"{EVIL} burns, since " in tags.text
    assert "Run nextact <x>. This page goes on asking." in tags.text
    assert tags.seen.count("code") == 1
    assert panel("status", status=status_view([])).strip() == ""


def test_the_live_view_is_whole() -> None:
    async def look() -> list[str]:
        async with pretend_worker() as worker, WorkerClient(worker.url, None) as client:
            times = iter(range(0, 1000, 10))
            observer = Observer([client], lambda: float(next(times)))
            for said in (metrics(), metrics(events=70, rules=(60, 100), version="<b>v</b>", created=5)):
                worker.metrics = said
                await observer.look()
            live = live_view(observer)
            return [
                panel("figures", live=live),
                panel("hits", live=live, simulated=True),
                panel("workers", live=live),
                panel("head", here="live", simulated=True, grafana="http://grafana/?a=1&b=2"),
                panel("title"),
                panel("welcome", nobody=True),
            ]

    figures, hits, workers, *others = [Tags(text) for text in asyncio.run(look())]
    assert "7.0 per second" in figures.text
    assert "simulated shop" in hits.text
    assert "60.0 %" in hits.text
    assert "path" in hits.seen
    assert "<b>v</b>" in workers.text
    assert "promoted" in workers.text
    assert all(other.seen for other in others)


def test_the_style_has_both_colour_schemes_and_fetches_nothing() -> None:
    assert "prefers-color-scheme: dark" in style()
    assert "url(" not in style()
    assert "@import" not in style()
