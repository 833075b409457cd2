"""A worker that sends itself a signal at a named point: `python -m tests.faults.points POINT N SIGNAL -- worker`.

The program has no hooks for this: the function at the point is wrapped in this process, and in its N-th call comes
the signal, SIGKILL or SIGSTOP.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from stream_app.cli import main as cli
from stream_app.kafka.batch_queue import BatchQueue, PartitionBatch, QueuedBatches
from stream_app.settings import load_settings
from stream_app.worker.faust_table import UsersStore
from stream_app.worker.faust_transport import FetchConsumer
from stream_app.worker.local_store import LocalStore
from stream_app.worker.reload import Reloader

Due = Callable[[], bool]  # whether this pass of the point is the one
Hit = Callable[[], None]  # sends the signal

_IN_THE_MIDDLE_S: Final = 0.002  # of a request to a broker: sent, not answered


def predictions_sent(due: Due, hit: Hit) -> None:
    """The predictions of a batch are acknowledged, and nothing in the process knows it yet."""
    _at_acknowledgement(load_settings().predictions_topic, due, hit)


def changelog_sent(due: Due, hit: Hit) -> None:
    """The changelog of a batch is acknowledged, and nothing in the process knows it yet."""
    _at_acknowledgement(load_settings().state_topic, due, hit)


def joins_sent(due: Due, hit: Hit) -> None:
    """The joins of a batch are acknowledged, and nothing in the process knows it yet."""
    _at_acknowledgement(load_settings().joins_topic, due, hit)


def _at_acknowledgement(awaited: str, due: Due, hit: Hit) -> None:
    send_batch, put = AIOKafkaProducer.send_batch, BatchQueue.put

    async def send(self: AIOKafkaProducer, builder: Any, topic: str, **options: Any) -> Any:
        acknowledged = await send_batch(self, builder, topic, **options)
        if topic == awaited and due():
            acknowledged.add_done_callback(lambda _: hit())
        return acknowledged

    def queue(self: BatchQueue, batches: Sequence[PartitionBatch], *, joining: bool = False) -> QueuedBatches:
        queued = put(self, batches, joining=joining)
        if any(tp.topic == awaited for tp, _ in batches) and due():
            queued.acknowledged.add_done_callback(lambda _: hit())
        return queued

    for owner, name, wrapped in ((AIOKafkaProducer, "send_batch", send), (BatchQueue, "put", queue)):
        setattr(owner, name, wrapped)


def local_write(due: Due, hit: Hit) -> None:
    """The changelog of a batch is acknowledged, the local store does not have it."""
    original = getattr(LocalStore, name := "write")

    def write(self: LocalStore, *arguments: Any) -> None:
        if due():
            hit()
        original(self, *arguments)

    setattr(LocalStore, name, write)


def acknowledgement(due: Due, hit: Hit) -> None:
    """All effects are durable, the fetch is not acknowledged."""
    original = getattr(FetchConsumer, name := "ack")

    def ack(self: FetchConsumer, message: Any) -> Any:
        if due():
            hit()
        return original(self, message)

    setattr(FetchConsumer, name, ack)


def commit(due: Due, hit: Hit) -> None:
    """The commit, of offsets or of a transaction, is sent, and not answered yet."""
    for owner, name in ((FetchConsumer, "_commit"), (AIOKafkaProducer, "commit_transaction")):
        setattr(owner, name, _cut_off(getattr(owner, name), due, hit))


def _cut_off(original: Callable[..., Any], due: Due, hit: Hit) -> Callable[..., Any]:
    async def request(*arguments: Any) -> Any:
        if not due():
            return await original(*arguments)
        asking = asyncio.ensure_future(original(*arguments))
        await asyncio.sleep(_IN_THE_MIDDLE_S)
        hit()
        return await asking

    return request


def recovery(due: Due, hit: Hit) -> None:
    """A part of the changelog is read, the rest is not."""
    original = getattr(UsersStore, name := "apply_changelog_batch")

    def apply(self: UsersStore, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        if due():
            hit()

    setattr(UsersStore, name, apply)


def swap(due: Due, hit: Hit) -> None:
    """The new weights serve, and nothing has been computed with them."""
    original = getattr(Reloader, name := "_swap")

    async def swap_weights(self: Reloader, serving: Any) -> None:
        await original(self, serving)
        if due():
            hit()

    setattr(Reloader, name, swap_weights)


POINTS: Final = {
    "predictions-sent": predictions_sent,
    "changelog-sent": changelog_sent,
    "joins-sent": joins_sent,
    "local-write": local_write,
    "acknowledgement": acknowledgement,
    "commit": commit,
    "recovery": recovery,
    "swap": swap,
}


def command(point: str, call: int, signum: int) -> list[str]:
    """What Python is given to run a worker that gets a signal at the `call`-th pass of a point."""
    return ["-m", "tests.faults.points", point, str(call), str(int(signum)), "--", "worker"]


def main() -> None:
    """Entry point."""
    name, call, signum, separator, *arguments = sys.argv[1:]
    assert separator == "--"
    calls = count(1)
    POINTS[name](lambda: next(calls) == int(call), lambda: os.kill(os.getpid(), int(signum)))
    sys.argv = ["nextact", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
