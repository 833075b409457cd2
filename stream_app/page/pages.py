"""The two views, as NiceGUI serves them: each browser has panels of its own, which change when what they say does."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final
from urllib.parse import urlencode

from fastapi.responses import RedirectResponse
from nicegui import app, ui

from stream_app.contract.demo.headline import read_headline
from stream_app.contract.questions.answers import UserAnswer
from stream_app.page.headline_view import headline_view
from stream_app.page.live_view import live_view, status_view
from stream_app.page.observer import LastingTrouble, Observer
from stream_app.page.options import PageOptions
from stream_app.page.panels import panel, style
from stream_app.page.shopper_view import SeenAnswers, identity, shopper_view
from stream_app.page.worker_client import NoAnswer, first_answer

_LIVE_S: Final = 1.0  # seconds between two changes of the live view
_SHOPPER_S: Final = 0.5  # seconds between two questions for a shopper
_ACTIVE: Final = 20  # users among whom one is chosen
_TRIES: Final = 8  # to find somebody: a worker remembers who was active from the first question on
_TRY_AGAIN_S: Final = 0.25  # seconds between two tries


def add_pages(observer: Observer, options: PageOptions) -> None:
    """Adds the page's addresses to NiceGUI."""
    ui.add_head_html(f"<style>{style()}</style>", shared=True)

    @ui.page("/", title="nextact, live")
    def live() -> None:
        with _frame(observer, options, "live"):
            _LivePanels(observer, options)

    @ui.page("/shopper", title="nextact, a shopper")
    def shopper(user: str = "", nobody: bool = False) -> None:
        with _frame(observer, options, "shopper"):
            ui.html(panel("search", user=user), sanitize=False)
            if user:
                _ShopperPanels(observer, user)
            else:
                _status(observer)
                ui.html(panel("welcome", nobody=nobody), sanitize=False)

    @app.get("/shopper/active")
    async def active() -> RedirectResponse:
        return RedirectResponse(await address_of_somebody(observer), status_code=303)


def _frame(observer: Observer, options: PageOptions, here: str) -> ui.element:
    """Adds the head, and returns the element for the rest. The observer looks often while a browser is here."""
    observer.enter()
    ui.context.client.on_delete(observer.leave)
    head = panel("head", here=here, simulated=options.simulated, grafana=options.grafana)
    ui.html(head, sanitize=False, tag="header")
    return ui.element("div").props("id=main tabindex=-1")  # NiceGUI puts all of it into a <main>


def _status(observer: Observer) -> ui.html:
    """Adds what is wrong, which a screen reader reads out when it changes."""
    element = ui.html(tag="div").props("role=status")

    def update() -> None:
        _show_troubles(element, observer.troubles)

    ui.timer(_LIVE_S, update)
    return element


def _show_troubles(element: ui.html, troubles: list[LastingTrouble]) -> None:
    element.content = panel("status", status=status_view(troubles))


async def address_of_somebody(observer: Observer) -> str:
    """Returns the address of the view of somebody who is active, chosen at random."""
    for _ in range(_TRIES):
        try:
            users = await first_answer(observer.workers, lambda worker: worker.active(_ACTIVE))
        except NoAnswer:
            return "/shopper"
        if users:
            return "/shopper?" + urlencode({"user": random.choice(users).user_id})
        await asyncio.sleep(_TRY_AGAIN_S)
    return "/shopper?nobody=true"


class _LivePanels:
    """The live view in one browser."""

    def __init__(self, observer: Observer, options: PageOptions) -> None:
        self._observer, self._options = observer, options
        ui.html(panel("title"), sanitize=False)
        _status(observer)
        with ui.element("div").classes("stack"):
            self._headline, self._figures, self._hits, self._workers = ui.html(), ui.html(), ui.html(), ui.html()
        ui.timer(_LIVE_S, self._update)

    def _update(self) -> None:
        view = live_view(self._observer)
        if self._options.headline is not None:
            headline = headline_view(read_headline(self._options.headline))
            self._headline.content = panel("headline", headline=headline)
        self._figures.content = panel("figures", live=view)
        self._hits.content = panel("hits", live=view, simulated=self._options.simulated)
        self._workers.content = panel("workers", live=view)


class _ShopperPanels:
    """A shopper's view in one browser, which follows them."""

    def __init__(self, observer: Observer, user: str) -> None:
        self._observer, self._user = observer, user
        self._seen = SeenAnswers()
        self._identity: object = None
        self._trouble: LastingTrouble | None = None
        self._status = ui.html(tag="div").props("role=status")
        self._who = ui.html().classes("who")
        self._body = ui.html()
        self._said = ui.html(tag="div").props("role=log aria-live=polite").classes("unseen")
        ui.timer(_SHOPPER_S, self._update)

    async def _update(self) -> None:
        try:
            answer = await first_answer(self._observer.workers, lambda worker: worker.user(self._user))
        except NoAnswer as error:
            self._show_no_answer(error)
        else:
            self._trouble = None
            self._show(answer)
        troubles = self._observer.troubles
        if self._trouble is not None and self._trouble.trouble not in [one.trouble for one in troubles]:
            troubles = [*troubles, self._trouble]
        _show_troubles(self._status, troubles)

    def _show(self, answer: UserAnswer) -> None:
        new = identity(answer)
        if new == self._identity:
            self._who.content = panel("who", shopper=shopper_view(answer, SeenAnswers()))
            return
        view = shopper_view(answer, self._seen)
        self._identity = new
        self._who.content = panel("who", shopper=view)
        self._body.content = panel("shopper", shopper=view)
        if view.said:
            self._said.content = panel("said", words=view.said)

    def _show_no_answer(self, error: NoAnswer) -> None:
        if error.trouble.code == "unknown_user":
            self._trouble, self._identity = None, None
            self._who.content = ""
            self._body.content = panel("nobody", user=self._user, trouble=error.trouble)
        elif self._trouble is None or self._trouble.trouble != error.trouble:
            self._trouble = LastingTrouble(error.trouble, time.time())
