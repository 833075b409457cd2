"""Answers questions several at once: what comes while some are being answered waits, and is answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Together(Generic[Q, A]):
    """Asks a function that answers many questions, in another thread. For one event loop."""

    def __init__(self, answer: Callable[[list[Q]], list[A]], thread: Executor, most: int) -> None:
        """`answer` is asked at most `most` questions at once."""
        self._answer, self._thread, self._most = answer, thread, most
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Returns the answer. Raises what answering raises, for all that were asked at once."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._running is None:
            self._running = asyncio.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            pairs = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            try:
                answers = await loop.run_in_executor(self._thread, self._answer, [question for question, _ in pairs])
            except Exception as error:
                for _, future in pairs:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(pairs, answers, strict=True):
                    if not future.done():  # nobody waits for it any more
                        future.set_result(answer)
        self._running = None
