"""Asks a worker's API and its metrics; says in words why there is no answer, and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from model.errors import NextactError
from stream_app.contract.questions.answers import (
    ActiveUser,
    ActiveUsers,
    ErrorAnswer,
    ErrorContent,
    UserAnswer,
    WorkerAnswer,
)

_TIMEOUT: Final = aiohttp.ClientTimeout(total=3, connect=2)  # seconds
_MOST: Final = 8 << 20  # bytes of an answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not work, for people."""

    what: str
    advice: str
    code: str = ""

    @property
    def passes(self) -> bool:
        """Whether it is expected to end by itself."""
        return self.code in ("starting", "rebalancing")


class NoAnswer(NextactError):
    """A worker did not answer, or refused to."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"{trouble.what}. {trouble.advice}")
        self.trouble = trouble


class WorkerClient:
    """One worker's API. Several questions may be under way at once."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def about(self) -> WorkerAnswer:
        """Asks what worker this is. Raises `NoAnswer`, as all that follow do."""
        return await self._ask("/v1/worker", WorkerAnswer)

    async def user(self, user_id: str) -> UserAnswer:
        """Asks what is known of a user."""
        return await self._ask(f"/v1/users/{quote(user_id, safe='')}?rules=true", UserAnswer)

    async def active(self, most: int) -> list[ActiveUser]:
        """Asks who was answered last, newest first."""
        return (await self._ask(f"/v1/users?active={most}", ActiveUsers)).users

    async def metrics(self, url: str) -> str:
        """Reads metrics, without the token: they have none."""
        try:
            status, body = await self._get(url, {})
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(
                Trouble(
                    f"The metrics at {url} cannot be read: {_reason(error)}",
                    "Is the worker's metrics port (NEXTACT_HTTP_HOST, NEXTACT_HTTP_PORT) reachable from here?",
                )
            ) from error
        if status != 200:
            raise NoAnswer(Trouble(f"The metrics at {url} answer with status {status}", "Is this a worker's address?"))
        return body.decode(errors="replace")

    async def _ask(self, path: str, kind: type[T]) -> T:
        try:
            # Encoded as it is: a user id may hold whatever an address may not.
            status, body = await self._get(self.url + path, self._headers)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(unreachable(self.url, _reason(error))) from error
        try:
            if status == 200:
                return msgspec.json.decode(body, type=kind)
            raise NoAnswer(refused(self.url, status, msgspec.json.decode(body, type=ErrorAnswer).error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NoAnswer(strange(self.url, status)) from error

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        assert self._session is not None
        async with self._session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
            body = await response.content.read(_MOST)
            while len(body) < _MOST and (more := await response.content.read(_MOST - len(body))):
                body += more
            return response.status, body


async def first_answer(workers: Sequence[WorkerClient], question: Callable[[WorkerClient], Awaitable[T]]) -> T:
    """Asks one worker after the other until one answers. Raises `NoAnswer` of the first where none does."""
    refusals = []
    for worker in workers:
        try:
            return await question(worker)
        except NoAnswer as error:
            if error.trouble.code == "unknown_user":  # any worker answers for any user
                raise
            refusals.append(error)
    raise refusals[0]


def unreachable(url: str, reason: str) -> Trouble:
    """Returns what to say of a worker that does not answer."""
    return Trouble(
        f"The worker at {url} does not answer: {reason}",
        "Is it running? `nextact worker` starts one; its log says where it answers questions (--worker).",
        "unreachable",
    )


def refused(url: str, status: int, problem: ErrorContent) -> Trouble:
    """Returns what to say of a worker's refusal."""
    advice = {
        "no_token": "Start the page with --token-file and a file that holds one of the worker's tokens.",
        "wrong_token": "The file of --token-file has to hold one of NEXTACT_API_TOKENS of the worker.",
        "unknown_user": "Ids are as the events have them, also in upper and lower case.",
        "rebalancing": "The workers are sharing the partitions anew; this takes some seconds.",
        "no_version": "It says so until the first model version serves.",
        "owner_unreachable": "Another worker has this user: see NEXTACT_ADVERTISED there.",
        "too_many": "Others ask, too: NEXTACT_API_RATE limits what one address may ask.",
    }.get(problem.code, f"See {problem.setting}." if problem.setting else "The worker's log may say more.")
    what = problem.message if problem.code == "unknown_user" else f"The worker at {url} says: {problem.message}"
    return Trouble(what.rstrip("."), advice, problem.code)


def starting(url: str) -> Trouble:
    """Returns what to say of a worker that is not ready."""
    return Trouble(
        f"The worker at {url} is not ready",
        "It is starting, or takes over partitions; its log says what it waits for. A first start compiles its loops, a "
        "minute or two.",
        "starting",
    )


def strange(url: str, status: int) -> Trouble:
    """Returns what to say of an answer that is not one of a nextact worker."""
    return Trouble(
        f"What answers at {url} (status {status}) is not a nextact worker's API",
        "--worker takes the address of the API (port 9680 unless it is set), not that of the metrics.",
        "strange",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer within 3 s"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        text = error.os_error.strerror
        return "connection refused" if "Connect call failed" in text else text
    return str(error) or type(error).__name__
