"""The Faust app of a worker; nothing happens at import."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import faust
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP
from yarl import URL

from model.serving.state_engine import StateEngine
from stream_app.errors import DataPathError
from stream_app.kafka.log_range import OffsetGap
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import Settings
from stream_app.worker.agent import EventsAgent
from stream_app.worker.cut_logs import CutLogs
from stream_app.worker.delivery import Delivery
from stream_app.worker.faust_table import TimelyTableManager, UsersTable
from stream_app.worker.faust_transport import FetchSchema, FetchTransport, TransportHooks
from stream_app.worker.local_store import LocalStore

_BUFFERED_MESSAGES: Final = 16  # of fetches, that wait for the agent or the table before Faust stops fetching
_REBALANCE_S: Final = (
    60.0  # that the group waits for its members in a rebalance, or a session timeout if that is longer
)
_DRAIN_SHARE: Final = 0.75  # of it, for finishing what was begun

logger: Final = logging.getLogger(__name__)


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """Faust's assignor, for a worker that comes back to its place in the group with another address.

    A static member is given what it was assigned before its restart, and its address of then with it: Faust's own would
    refuse that, so the worker would not start until the group had forgotten it.
    Leans on: `on_assignment` compares the address with `_url`; what is sent to the group takes it from `_url`.
    """

    _known: URL | None = None  # the address that the group knew, while it is compared

    def on_assignment(self, assignment: Any) -> None:
        self._known = URL(ClientMetadata.loads(self._decompress(assignment.user_data)).url)
        try:
            super().on_assignment(assignment)
        finally:
            self._known = None

    @property
    def _url(self) -> URL:
        return self._known or self.app.conf.canonical_url

    def owner_url(self, topic: str, partition: int) -> str | None:
        """Returns the address that the group has heard of the worker that owns a partition of events.

        Another thread may ask. Leans on: `_external_tps_url` is made anew with each assignment.
        """
        return self._external_tps_url.get(TP(topic, partition))  # type: ignore[no-any-return]


def create_app(
    settings: Settings,
    *,
    engine: StateEngine,
    store: LocalStore,
    agent: EventsAgent,
    delivery: Delivery,
    metrics: WorkerMetrics,
    fail: Callable[..., Any],
) -> faust.App:
    """Makes the app: events agent, users table, transport, and the draining before partitions are given away."""
    app = _bare_app(settings)

    async def take_over(partitions: set[int]) -> None:
        try:
            await delivery.assigned(partitions)
        except Exception as error:  # aiokafka would log it and go on
            fail(error)
            raise
        agent.resume(partitions)

    async def finish_first() -> None:
        """Finishes and commits all that was begun: the next owner begins at the committed offsets.

        The group does not wait for ever. Before it gives the partitions away without us, this process ends: what it
        has not written yet must not come after what the next owner writes.
        """
        patience = _patience(app.conf)
        try:
            async with asyncio.timeout(patience):
                await agent.drained()
                await app.consumer.commit_all()
        except TimeoutError:
            fail(
                DataPathError(
                    f"what was begun could not be finished within {patience:g} s, and soon the group gives the "
                    "partitions away: is Kafka slow, or NEXTACT_BATCH_SIZE too large? Nothing is lost, the next owner "
                    "goes on at the committed offsets"
                )
            )
            raise

    cuts = CutLogs(engine=engine, store=store, delivery=delivery, epoch=settings.stream_epoch)
    hooks = TransportHooks(
        drained=agent.drained,
        finish_first=finish_first,
        take_over=take_over,
        commits=not delivery.commits_offsets,
        pause=agent.pause,
        follow_cut=cuts.note,
        look_for_cut=cuts.look,
        missed=partial(_report_missed, metrics),
        refused=fail,
        heartbeat=delivery.heartbeat,
    )
    app.transport = FetchTransport(app.conf.broker, app, settings=settings, hooks=hooks)
    events = app.topic(settings.events_topic, schema=FetchSchema(), partitions=settings.partitions)
    app.agent(events, name="events")(agent.consume)
    app.tables.add(UsersTable(app, settings=settings, engine=engine, store=store, metrics=metrics, fail=fail))

    @app.on_partitions_revoked.connect(weak=False)  # type: ignore[untyped-decorator]
    async def revoked(_: faust.App, __: Any, **___: Any) -> None:
        await finish_first()

    return app


def _report_missed(metrics: WorkerMetrics, tp: TP, gap: OffsetGap) -> None:
    """Counts and logs events that this worker cannot answer, or that it answered and the log lost."""
    metrics.missed.labels(gap.reason).inc(gap.records)
    logger.error("partition %d of %s: %s", tp.partition, tp.topic, gap)


def _patience(conf: Any) -> float:
    """Seconds for finishing in a rebalance: the group began to wait up to a heartbeat before this process knew."""
    return float(_DRAIN_SHARE * conf.broker_rebalance_timeout - conf.broker_heartbeat_interval)


def _bare_app(settings: Settings) -> faust.App:
    """Makes a Faust app, with settings in place of the defaults that would lose events or cost time."""
    return faust.App(
        settings.group,
        env={},  # else variables such as WEB_PORT, as Kubernetes sets them for a service `web`, go before what is given
        broker=[URL(f"kafka://{address.strip()}") for address in settings.brokers.split(",")],
        store="memory://",
        datadir=settings.data_dir / "faust",  # Faust makes it though nothing is put there, by default where it runs
        topic_partitions=settings.partitions,
        topic_allow_declare=False,  # `topic_admin` makes and checks them, with errors that say what to do
        topic_disable_leader=True,
        web_enabled=False,
        broker_session_timeout=settings.session_timeout,
        consumer_group_instance_id=settings.instance_id or None,
        table_standby_replicas=settings.standby_replicas,
        broker_rebalance_timeout=max(_REBALANCE_S, settings.session_timeout),
        broker_heartbeat_interval=settings.session_timeout / 5,
        broker_request_timeout=max(40.0, settings.session_timeout + 5),
        broker_max_poll_records=settings.batch_size,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="none",  # `FetchThread` finds out where to go on, and says what is missing
        stream_buffer_maxsize=_BUFFERED_MESSAGES,
        stream_wait_empty=False,  # `finish_first` waits instead
        producer_request_timeout=30.0,
        worker_redirect_stdouts=False,
        TableManager=TimelyTableManager,
        PartitionAssignor=Assignor,
    )
