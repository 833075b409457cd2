"""Who is chosen when somebody active is to be watched; what browsers see is in tests/integration/test_page.py."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from stream_app.page import pages
from stream_app.page.observer import Observer
from stream_app.page.pages import address_of_somebody
from stream_app.page.worker_client import WorkerClient
from tests.unit.builders.pretend_worker import pretend_worker


def addresses(times: int = 40, **answers: object) -> set[str]:
    async def ask() -> set[str]:
        async with pretend_worker(**answers) as worker, WorkerClient(worker.url, None) as client:
            observer = Observer([client], float)
            return {await address_of_somebody(observer) for _ in range(times)}

    return asyncio.run(ask())


def test_somebody_active_is_chosen_at_random() -> None:
    users = {"ada & co", "bob/?#", "店"}
    assert {parse_qs(urlsplit(url).query)["user"][0] for url in addresses(active=[*users])} == users


def test_a_worker_that_begins_to_remember_with_the_first_question_is_asked_again() -> None:
    async def ask() -> str:
        async with pretend_worker() as worker, WorkerClient(worker.url, None) as client:
            asked = asyncio.create_task(address_of_somebody(Observer([client], float)))
            async with asyncio.timeout(5):
                while not worker.asked:  # noqa: ASYNC110 - a server's list
                    await asyncio.sleep(0.01)
            worker.active = ["ada"]
            return await asked

    assert asyncio.run(ask()) == "/shopper?user=ada"


def test_without_anybody_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_TRY_AGAIN_S", 0)
    assert addresses(times=1, active=[]) == {"/shopper?nobody=true"}
    assert addresses(times=1, refusal=(503, "rebalancing", "wait")) == {"/shopper"}  # which says what is wrong
