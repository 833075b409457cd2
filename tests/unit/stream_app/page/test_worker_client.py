"""Questions to something that answers as a worker does; and words for each way in which it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stream_app.page.worker_client import NoAnswer, Trouble, WorkerClient, first_answer
from tests.unit.builders.pretend_worker import PretendWorker, answer, pretend_worker


def asked(
    question: Callable[[WorkerClient, PretendWorker], Awaitable[object]], *, token: str | None = None, **answers: object
) -> object:
    async def ask() -> object:
        async with pretend_worker(**answers) as worker, WorkerClient(worker.url + "/", token) as client:
            return await question(client, worker)

    return asyncio.run(ask())


def trouble_of(code: int, name: str) -> Trouble:
    with pytest.raises(NoAnswer) as caught:
        asked(lambda client, _: client.user("ada"), refusal=(code, name, "something is so."))
    return caught.value.trouble


def test_a_user_is_asked_for_by_whatever_id_they_have() -> None:
    for odd in ("ada", "a/b?c=d#e", "100 %", "店 1", ".."):
        found = asked(lambda client, _, user=odd: client.user(user), users={odd: answer(odd)})  # type: ignore[misc]
        assert getattr(found, "user_id") == odd  # noqa: B009 - of whatever type


def test_active_users_and_the_worker_itself() -> None:
    users = asked(lambda client, _: client.active(2), active=["ada", "bob", "eve"])
    assert [getattr(user, "user_id") for user in users] == ["ada", "bob"]  # type: ignore[attr-defined]  # noqa: B009

    async def metrics(client: WorkerClient, worker: PretendWorker) -> tuple[str, str]:
        about = await client.about()
        return about.worker, await client.metrics(about.metrics)

    assert asked(metrics) == ("nextact-1", "nextact_events_total 0\n")


def test_the_token_goes_with_questions() -> None:
    assert asked(lambda client, _: client.active(1), token="open", active=["ada"])
    with pytest.raises(NoAnswer, match="--token-file"):
        asked(lambda client, _: client.active(1), refusal=(401, "no_token", "a token, please"))


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, "no_token", "--token-file"),
        (403, "wrong_token", "NEXTACT_API_TOKENS"),
        (429, "too_many", "NEXTACT_API_RATE"),
        (503, "rebalancing", "some seconds"),
        (503, "owner_unreachable", "NEXTACT_ADVERTISED"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, code: str, advice: str) -> None:
    trouble = trouble_of(status, code)
    assert advice in trouble.advice
    assert trouble.code == code
    assert trouble.what.endswith("says: something is so")


def test_an_unknown_user_is_nobodys_fault() -> None:
    with pytest.raises(NoAnswer) as caught:
        asked(lambda client, _: client.user("nobody"))
    assert (caught.value.trouble.code, caught.value.trouble.what) == ("unknown_user", "user 'nobody' is not known")


def test_a_dead_worker_and_another_server_are_told_apart() -> None:
    async def dead(client: WorkerClient, worker: PretendWorker) -> object:
        await worker.stop()
        return await client.about()

    with pytest.raises(NoAnswer, match="does not answer: connection refused"):
        asked(dead)
    with pytest.raises(NoAnswer, match="is not a nextact worker's API"):
        asked(lambda client, _: client._ask("/metrics", dict))
    with pytest.raises(NoAnswer, match="answer with status 404"):
        asked(lambda client, worker: client.metrics(worker.url + "/nothing"))
    with pytest.raises(NoAnswer, match=r"metrics at http://.* cannot be read: connection refused"):
        asked(lambda client, _: client.metrics("http://127.0.0.1:1/metrics"))


def test_the_first_worker_that_answers_is_believed() -> None:
    async def ask() -> None:
        async with (
            pretend_worker(refusal=(503, "rebalancing", "wait")) as busy,
            pretend_worker(users={"ada": answer("ada")}) as calm,
            WorkerClient(busy.url, None) as first,
            WorkerClient(calm.url, None) as second,
        ):
            assert (await first_answer([first, second], lambda worker: worker.user("ada"))).user_id == "ada"
            with pytest.raises(NoAnswer, match="nobody"):
                await first_answer([second, first], lambda worker: worker.user("nobody"))
            assert len(busy.asked) == 1  # who knows nobody has asked the owner already
            with pytest.raises(NoAnswer, match="wait"):
                await first_answer([first], lambda worker: worker.user("ada"))

    asyncio.run(ask())
