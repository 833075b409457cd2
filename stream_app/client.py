"""A client for other programs, which publishes events, subscribes to predictions and asks workers.

    with Client("localhost:9092") as client, client.subscribe(user="ada") as predictions:
        client.publish({"user_id": "ada", "type": "view", "item_id": "shoe-7"})
        print(next(predictions).recommendations)
        print(client.user("ada").age_ms)

`Client` blocks, `AsyncClient` has the same methods and awaits. Kafka's addresses and security are nextact's settings
(`NEXTACT_*`), as for its commands. All errors are `NextactError`; `stream_app.errors` has their tree. Neither PyTorch
nor Faust is imported.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from math import inf
from threading import Thread
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from yarl import URL

from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.contract.questions.answers import (
    ActiveUsers,
    RankAnswer,
    RelatedAnswer,
    SegmentsAnswer,
    SessionAnswer,
    UserAnswer,
    WorkerAnswer,
)
from stream_app.contract.questions.reading import NoAnswerYet, path_part, read_answer
from stream_app.errors import EventRefused, WorkerUnreachable
from stream_app.kafka.clients import Consumer, new_consumer
from stream_app.kafka.publisher import Event, record_of, started_producer
from stream_app.kafka.refusals import explained
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings, load_settings

__all__ = ["AsyncClient", "AsyncSubscription", "Client", "Place", "Prediction", "Subscription", "UserAnswer"]

WORKER: Final = "http://127.0.0.1:9680"  # where a worker answers by default
DEADLINE_S: Final = 10.0  # seconds that a question may take, all its tries together
_FIRST_PAUSE_S: Final = 0.05  # seconds before the second try of a question; they double
_LONGEST_PAUSE_S: Final = 2.0
_POLL_MS: Final = 500  # milliseconds that one look for new predictions waits

T = TypeVar("T")
logger: Final = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an event lies in the events topic, once the broker has it; its prediction names this as its `source`."""

    partition: int
    offset: int


class AsyncSubscription:
    """Predictions as they come: an async iterator, and an async context manager that is subscribed from its beginning.

    Each comes at least once: after a worker's crash one may come again, with the same `prediction_id`. While no broker
    answers it waits. Not for two tasks at once.
    """

    def __init__(self, settings: Settings, user: str | None, *, from_start: bool, idle_seconds: float | None) -> None:
        self._settings, self._key = settings, None if user is None else user.encode()
        self._from_start, self._idle_seconds = from_start, inf if idle_seconds is None else idle_seconds
        self._consumer: Consumer | None = None
        self._predictions: deque[Prediction] = deque()
        self._ended = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Prediction:
        """Returns the next prediction, waiting for it. Raises `UsageError`."""
        await self.start()
        clock = asyncio.get_running_loop().time
        end = clock() + self._idle_seconds
        while not self._predictions:
            left = end - clock()
            if self._ended or left <= 0:
                raise StopAsyncIteration
            await self._fetch(round(1 + min(_POLL_MS, 1000 * left)))
        return self._predictions.popleft()

    async def start(self) -> None:
        """Subscribes, unless that was done; from now on no prediction is missed. Raises `UsageError`."""
        if self._consumer is not None or self._ended:
            return
        topic = self._settings.predictions_topic
        (report,) = await ensure_topics(self._settings, "subscriber", topic, create=False)
        consumer = new_consumer(self._settings, "subscriber", isolation_level="read_committed")
        await consumer.start()
        self._consumer = consumer
        partitions = [TopicPartition(topic, number) for number in range(report.partitions)]
        consumer.assign(partitions)
        offsets = await (consumer.beginning_offsets if self._from_start else consumer.end_offsets)(partitions)
        for partition, offset in offsets.items():
            consumer.seek(partition, offset)

    async def close(self) -> None:
        """Ends the subscription: the iteration stops."""
        self._ended = True
        if self._consumer is not None:
            await self._consumer.stop()

    async def _fetch(self, milliseconds: int) -> None:
        assert self._consumer is not None
        try:
            fetched = await self._consumer.getmany(timeout_ms=milliseconds)
        except ConsumerStoppedError:  # by `close`
            return
        except KafkaError as error:
            raise await explained(self._settings, error, "Read") from error
        for record in (record for records in fetched.values() for record in records):
            if record.value and self._key in (None, record.key):
                try:
                    self._predictions.append(decode_prediction(record.value))
                except msgspec.DecodeError as error:
                    logger.warning("passed over a record that is not a prediction: %s", error)


class AsyncClient:
    """Publishes, subscribes and asks; in `async with`, or until `close`. For any number of tasks of one event loop."""

    def __init__(
        self,
        brokers: str | None = None,
        *,
        workers: str | Sequence[str] = WORKER,
        token: str | None = None,
        deadline: float = DEADLINE_S,
        settings: Settings | None = None,
    ) -> None:
        """Connects to nothing yet.

        `brokers`: Kafka's addresses; default: the settings'. `workers`: addresses of one or several workers' questions,
        of which any answers for all. `token`: for questions; default: the first of the settings'. `deadline`: seconds
        until a question is given up. `settings`: all of nextact's, by default from the environment. Raises
        `SettingsInvalid`.
        """
        self._settings = settings or load_settings({"brokers": brokers})
        self._workers = [URL(one.rstrip("/")) for one in ([workers] if isinstance(workers, str) else workers)]
        tokens = self._settings.api_tokens.get_secret_value().split() if token is None else [token]
        self._headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens and tokens[0] else {}
        self._deadline = deadline
        self._random = random.Random()
        self._session: ClientSession | None = None
        self._producer: asyncio.Task[AIOKafkaProducer] | None = None
        self._subscriptions: list[AsyncSubscription] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnects; what is being published is acknowledged first."""
        for subscription in self._subscriptions:
            await subscription.close()
        if self._session is not None:
            await self._session.close()
        if self._producer is not None:
            await asyncio.wait([self._producer])
            if self._producer.exception() is None:
                await self._producer.result().stop()

    async def publish(self, event: Event, *, key: str | None = None) -> Place:
        """Publishes an event and returns where it lies, once all replicas that count have it.

        `event`: of nextact's own format, of GA4, Segment or UBI; `key`: the user's id, by default its `user_id`. An
        event that is published again, as after an error, counts once if it has an `event_id`.
        Raises `EventRefused` where a worker would not take it, and `UsageError` where Kafka does not.
        """
        own_key, value, time_ms = record_of(event, round(1000 * time.time()))
        raw_key = own_key if key is None else key.encode()
        try:
            decode_event(raw_key, value, time_ms or 0)
        except RejectedRecord as rejection:
            raise EventRefused(f"not an event that workers take ({rejection.reason}): {rejection}") from None
        try:
            producer = await self._connected()
            sent = await producer.send_and_wait(self._settings.events_topic, value, raw_key, timestamp_ms=time_ms)
        except KafkaError as error:
            raise await explained(self._settings, error, "Write") from error
        return Place(sent.partition, sent.offset)

    def subscribe(
        self, *, user: str | None = None, from_start: bool = False, idle_seconds: float | None = None
    ) -> AsyncSubscription:
        """Returns the predictions from now on, or all that the topic has, of all users or of one.

        "Now" is when `async with` enters, or the first one is asked for. The iteration ends when none came for
        `idle_seconds`; by default it does not end.
        """
        subscription = AsyncSubscription(self._settings, user, from_start=from_start, idle_seconds=idle_seconds)
        self._subscriptions.append(subscription)
        return subscription

    async def user(self, user_id: str, *, history: int | None = None) -> UserAnswer:
        """Asks what a user will do next, likes and did: so many actions at most, by default 64; 0 is answered soonest.

        Raises `UnknownSubject` and other `QuestionRefused`.
        """
        query = "" if history is None else f"?history={history}"
        return await self._ask(UserAnswer, "GET", f"/v1/users/{path_part(user_id)}{query}")

    async def rank(self, user_id: str, candidates: Iterable[str]) -> RankAnswer:
        """Asks for up to 1,000 items in the order in which to show them to a user. Raises `QuestionRefused`."""
        return await self._ask(RankAnswer, "POST", f"/v1/users/{path_part(user_id)}/rank", candidates=list(candidates))

    async def rank_session(self, events: Iterable[Event], candidates: Iterable[str] | None = None) -> SessionAnswer:
        """Asks what comes next for somebody who is not known and did this, the oldest first; nothing is stored.

        `events` have no `user_id`. Raises `QuestionRefused`.
        """
        more = {} if candidates is None else {"candidates": list(candidates)}
        return await self._ask(SessionAnswer, "POST", "/v1/rank", events=list(events), **more)

    async def related(self, item_id: str, count: int = 20) -> RelatedAnswer:
        """Asks what goes with an item, the best first. Raises `UnknownSubject` and other `QuestionRefused`."""
        return await self._ask(RelatedAnswer, "GET", f"/v1/items/{path_part(item_id)}/related?count={count}")

    async def segments(self) -> SegmentsAnswer:
        """Asks which groups of users there are. Raises `QuestionRefused`."""
        return await self._ask(SegmentsAnswer, "GET", "/v1/segments")

    async def active(self, count: int = 1) -> ActiveUsers:
        """Asks whom the worker answered last, the newest first, up to 100. Raises `QuestionRefused`."""
        return await self._ask(ActiveUsers, "GET", f"/v1/users?active={count}")

    async def worker(self) -> WorkerAnswer:
        """Asks who answers, with which version, and where their metrics are. Raises `QuestionRefused`."""
        return await self._ask(WorkerAnswer, "GET", "/v1/worker")

    async def _connected(self) -> AIOKafkaProducer:
        """Returns the producer, which the first publisher starts and the others wait for."""
        if self._producer is None or (self._producer.done() and self._producer.exception()):
            self._producer = asyncio.create_task(started_producer(self._settings, "publisher"))
        return await asyncio.shield(self._producer)

    async def _ask(self, answer: type[T], method: str, path: str, **body: Any) -> T:
        """Asks one worker after the other until one answers, or the deadline has passed."""
        clock = asyncio.get_running_loop().time
        end, tries = clock() + self._deadline, 0
        while True:
            worker = self._workers[tries % len(self._workers)]
            try:
                return await self._ask_once(answer, method, URL(f"{worker}{path}", encoded=True), body, end - clock())
            except NoAnswerYet as error:
                tries += 1
                pause = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S) * self._random.uniform(0.5, 1)
                pause = max(pause, error.retry_after if tries % len(self._workers) == 0 else 0.0)
                if clock() + pause >= end:
                    raise WorkerUnreachable(
                        f"no worker has answered within {self._deadline:g} s; {worker}: {error}. Give the addresses of "
                        "workers as `workers`, each worker logs its own (NEXTACT_API_PORT)"
                    ) from error
                await asyncio.sleep(pause)

    async def _ask_once(self, answer: type[T], method: str, url: URL, body: Mapping[str, Any], seconds: float) -> T:
        """Asks one worker once. Raises what `read_answer` does."""
        if self._session is None:
            self._session = ClientSession()
        data = msgspec.json.encode(body) if body else None
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            limit = ClientTimeout(total=max(seconds, 0.001) / min(len(self._workers), 2))
            async with self._session.request(method, url, data=data, headers=headers, timeout=limit) as response:
                after = response.headers.get("Retry-After")
                return read_answer(answer, response.status, await response.read(), after)
        except (ClientError, OSError, TimeoutError) as error:
            raise NoAnswerYet(str(error) or type(error).__name__) from error


class Subscription:
    """Predictions as they come: an iterator, and a context manager that is subscribed from its beginning."""

    def __init__(self, client: Client, inner: AsyncSubscription) -> None:
        self._client, self._inner = client, inner

    def __enter__(self) -> Self:
        self._client._run(self._inner.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._client._run(self._inner.close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Prediction:
        """Returns the next prediction, waiting for it. Raises `UsageError`."""
        try:
            return self._client._run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


class Client:
    """`AsyncClient` for programs that do not await: each method waits for its end. For any number of threads.

    The work is done by an event loop in a thread of its own, until `close` or the end of `with`.
    """

    def __init__(self, brokers: str | None = None, **options: Any) -> None:
        """Takes the options of `AsyncClient`. Raises `SettingsInvalid`."""
        self._client = AsyncClient(brokers, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="nextact client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects; what is being published is acknowledged first."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def publish(self, event: Event, *, key: str | None = None) -> Place:
        """Publishes an event; see `AsyncClient.publish`."""
        return self._run(self._client.publish(event, key=key))

    def subscribe(
        self, *, user: str | None = None, from_start: bool = False, idle_seconds: float | None = None
    ) -> Subscription:
        """Subscribes to predictions; see `AsyncClient.subscribe`."""
        inner = self._client.subscribe(user=user, from_start=from_start, idle_seconds=idle_seconds)
        return Subscription(self, inner)

    def user(self, user_id: str, *, history: int | None = None) -> UserAnswer:
        """Asks what is known of a user; see `AsyncClient.user`."""
        return self._run(self._client.user(user_id, history=history))

    def rank(self, user_id: str, candidates: Iterable[str]) -> RankAnswer:
        """Ranks candidates for a user; see `AsyncClient.rank`."""
        return self._run(self._client.rank(user_id, candidates))

    def rank_session(self, events: Iterable[Event], candidates: Iterable[str] | None = None) -> SessionAnswer:
        """Asks what comes next for somebody who is not known; see `AsyncClient.rank_session`."""
        return self._run(self._client.rank_session(events, candidates))

    def related(self, item_id: str, count: int = 20) -> RelatedAnswer:
        """Asks what goes with an item; see `AsyncClient.related`."""
        return self._run(self._client.related(item_id, count))

    def segments(self) -> SegmentsAnswer:
        """Asks for the segments; see `AsyncClient.segments`."""
        return self._run(self._client.segments())

    def active(self, count: int = 1) -> ActiveUsers:
        """Asks who was answered last; see `AsyncClient.active`."""
        return self._run(self._client.active(count))

    def worker(self) -> WorkerAnswer:
        """Asks what worker this is; see `AsyncClient.worker`."""
        return self._run(self._client.worker())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for work of the client's loop; an interruption (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
