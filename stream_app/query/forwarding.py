"""Has the worker that owns a user's partition answer a question, and hands its answer back.

A forwarded question names the worker that is to answer it, and that one says in its answer who it is: what listens
at an address by now may be another program, or a worker of another group, with users of the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
    web,
)
from yarl import URL

from stream_app.query.addresses import WorkerAddress
from stream_app.query.members import Members
from stream_app.query.refusals import Refusal

HOP: Final = "Nextact-Hop"  # header of a forwarded question: the worker that is to answer it
ANSWERED_BY: Final = "Nextact-Worker"  # header of its answer: the worker that gives it

_PATIENCE: Final = ClientTimeout(total=2.0, sock_connect=0.5)  # seconds
_MOST_AT_ONCE: Final = 64  # questions that one worker is being asked; more wait
_MOST_MOVED: Final = 4096  # new addresses that are kept
_ASKED_WITH: Final = ("Authorization", "Content-Type", "Accept")  # headers that go along
_ANSWERED_WITH: Final = ("Content-Type", "Retry-After", "WWW-Authenticate")  # headers that come back


def name_in_hops(group: str, worker: str) -> str:
    """Returns how a worker is called in headers: two groups may have workers of one name."""
    return f"{quote(group, safe='')}/{quote(worker, safe='')}"


def sign(app: web.Application, name: str) -> None:
    """Has all answers to forwarded questions, refusals too, say which worker gives them; `name` is its in hops."""

    async def sign_answer(request: web.Request, response: web.StreamResponse) -> None:
        if HOP in request.headers:
            response.headers[ANSWERED_BY] = name

    app.on_response_prepare.append(sign_answer)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked again."""

    method: str
    path: str  # with the query string, as it came
    headers: dict[str, str]
    body: bytes | None

    @classmethod
    async def of(cls, request: web.Request) -> Self:
        headers = {name: request.headers[name] for name in _ASKED_WITH if name in request.headers}
        url = request.rel_url  # of which nothing but the path counts: the host in it, if any, is the client's word
        path = f"{url.raw_path}?{url.raw_query_string}" if url.raw_query_string else url.raw_path
        return cls(request.method, path, headers, await request.read() if request.can_read_body else None)


class Forwarder:
    """Asks other workers."""

    def __init__(self, group: str, machine: str, members: Members) -> None:
        """`machine`: where this process runs."""
        self._group, self._machine, self._members = group, machine, members
        # Where owners are now that are elsewhere than the group has heard; by partition, and what that was.
        self._moved: dict[tuple[int, str], WorkerAddress] = {}
        self._session: ClientSession | None = None

    async def ask(self, partition: int, spread: str, request: web.Request) -> web.Response:
        """Returns the answer of a partition's owner, of which the group has heard `spread`.

        Raises `Refusal` where it cannot be had.
        """
        question = await _Question.of(request)
        known = self._moved.get((partition, spread)) or WorkerAddress.read(spread)
        answer = None if known is None else await self._answer_at(known, question)
        if answer is None:
            present = await self._members.owner_of(partition)
            if present is None or present == known:
                raise _silent(partition) if known is None else _unreachable(known, self._machine)
            self._note_move((partition, spread), present)
            answer = await self._answer_at(present, question)
            if answer is None:
                raise _unreachable(present, self._machine)
        return answer

    async def close(self, _: web.Application | None = None) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _note_move(self, heard: tuple[int, str], present: WorkerAddress) -> None:
        if len(self._moved) >= _MOST_MOVED:
            self._moved.clear()
        self._moved[heard] = present

    async def _answer_at(self, address: WorkerAddress, question: _Question) -> web.Response | None:
        """Returns the answer of a worker at an address; None: it is not there."""
        if (url := address.asked_from(self._machine)) is None:
            return None
        worker = name_in_hops(self._group, address.worker)
        try:
            try:
                return await self._sent(url, worker, question)
            except ServerDisconnectedError:  # a connection from before its restart
                return await self._sent(url, worker, question)
        except (ClientError, TimeoutError, OSError):
            return None

    async def _sent(self, url: str, worker: str, question: _Question) -> web.Response | None:
        async with self._open().request(
            question.method,
            URL(url + question.path, encoded=True),
            headers=question.headers | {HOP: worker},
            data=question.body,
            allow_redirects=False,  # or the token would go where another program says
        ) as response:
            if response.headers.get(ANSWERED_BY) != worker:
                return None
            headers = {name: response.headers[name] for name in _ANSWERED_WITH if name in response.headers}
            return web.Response(body=await response.read(), status=response.status, headers=headers)

    def _open(self) -> ClientSession:
        if self._session is None:  # it belongs to the event loop that answers questions
            connector = TCPConnector(limit=0, limit_per_host=_MOST_AT_ONCE)
            self._session = ClientSession(connector=connector, timeout=_PATIENCE, cookie_jar=DummyCookieJar())
        return self._session


def _unreachable(owner: WorkerAddress, machine: str) -> Refusal:
    if owner.asked_from(machine) is None:
        return Refusal(
            "owner_unreachable",
            f"this user is worker {owner.worker}'s, which listens on {owner.listens} of another machine alone: give it "
            "an address that others reach in NEXTACT_API_HOST, with tokens, or in NEXTACT_ADVERTISED",
            setting="NEXTACT_API_HOST",
        )
    return Refusal(
        "owner_unreachable",
        f"this user is worker {owner.worker}'s, which does not answer at {owner.asked_from(machine)}: it has ended, or "
        "others do not reach it there; NEXTACT_ADVERTISED of that worker gives another address, its alone",
        setting="NEXTACT_ADVERTISED",
    )


def _silent(partition: int) -> Refusal:
    return Refusal(
        "owner_unreachable",
        f"partition {partition} belongs to a worker that tells the others no address: one of an older version, which "
        "is to be upgraded, or one with NEXTACT_INSTANCE_ID and NEXTACT_WRITE_FORMAT=previous",
    )
