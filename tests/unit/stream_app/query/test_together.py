"""What comes while something is answered is answered together, each question by its own answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from stream_app.query.together import Together


def test_questions_that_wait_are_asked_at_once() -> None:
    asked: list[list[int]] = []
    begun, go_on = Event(), Event()

    def answer(questions: list[int]) -> list[int]:
        asked.append(questions)
        begun.set()
        assert go_on.wait(10)
        return [10 * question for question in questions]

    async def run() -> list[int]:
        together = Together(answer, thread, 3)
        first = asyncio.create_task(together.ask(1))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(together.ask(number)) for number in range(2, 7)]
        given_up = asyncio.create_task(together.ask(7))
        await asyncio.sleep(0)
        given_up.cancel()
        go_on.set()
        answers = list(await asyncio.gather(first, *others))
        return [*answers, await together.ask(8)]

    with ThreadPoolExecutor(1) as thread:
        assert asyncio.run(run()) == [10, 20, 30, 40, 50, 60, 80]
    assert asked == [[1], [2, 3, 4], [5, 6, 7], [8]]


def test_an_error_is_everybodys_who_was_asked_about_with_it_and_nobody_elses() -> None:
    def answer(questions: list[int]) -> list[int]:
        if 0 in questions:
            raise LookupError("no zero")
        return questions

    async def run() -> None:
        together = Together(answer, thread, 2)
        with pytest.raises(LookupError):
            await together.ask(0)
        assert await together.ask(1) == 1
        found = await asyncio.gather(*[together.ask(number) for number in (0, 1, 2, 3)], return_exceptions=True)
        assert [type(one) for one in found] == [LookupError, LookupError, int, int]

    with ThreadPoolExecutor(1) as thread:
        asyncio.run(run())
