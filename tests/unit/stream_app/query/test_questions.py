"""What is said of users and of the worker."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from model.items.item import Item
from model.serving.serving import serve
from stream_app.contract.questions.answers import SegmentsAnswer
from stream_app.query.questions import Questions
from stream_app.query.refusals import Refusal
from stream_app.settings import Settings
from tests.unit.builders.basics import CPU, make_version
from tests.unit.builders.questions import NOW_MS, AskedWorker, prediction, published


def test_an_answer_says_how_old_it_is_and_clocks_may_differ() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(2, [("u", prediction("u")), ("v", prediction("v"))], [NOW_MS - 40_000, NOW_MS + 5]))
    assert asyncio.run(worker.questions.user(2, "u")).age_ms == 40_000
    assert asyncio.run(worker.questions.user(2, "v")).age_ms == 0
    worker.now += 1
    assert [user.age_ms for user in worker.questions.users(5).users] == [995, 41_000]


def test_an_answer_of_another_partition_is_nobodys() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(1, [("u", prediction("u"))]))
    with pytest.raises(Refusal, match="nothing is known"):
        asyncio.run(worker.questions.user(2, "u"))


def test_titles_are_of_the_items_that_are_named_and_known() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(1, [("u", prediction("u", "a")), ("v", prediction("v", "b"))]))
    assert asyncio.run(worker.questions.user(1, "u")).titles == {}
    worker.catalogue.apply([Item("a", title="An A"), Item("b"), Item("c", title="A C")], [0, 0, 0])
    assert asyncio.run(worker.questions.user(1, "u")).titles == {"a": "An A"}
    assert asyncio.run(worker.questions.user(1, "v")).titles == {}


def test_a_version_without_segments_has_none() -> None:
    worker = AskedWorker(Settings())
    serving = serve(make_version(), CPU)
    view = replace(worker.questions._view, serving=lambda: serving)
    questions = Questions(view, worker.memory, lambda: worker.now)
    assert questions.segments() == SegmentsAnswer(serving.name, [])
    assert questions.worker("m").version == serving.name
