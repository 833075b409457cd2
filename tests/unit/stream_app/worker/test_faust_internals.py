"""What nextact leans on inside Faust and aiokafka, a test for each of it: an upgrade that changes it fails here.

Each failure names the module of ours that would break, and why.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult, OffsetResetStrategy, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, Subscription, SubscriptionState
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.app.base import App
from faust.assignor.partition_assignor import PartitionAssignor
from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as transport
from faust.transport.consumer import Fetcher as FaustFetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import MethodQueue

from stream_app.kafka import clients
from stream_app.settings import load_settings
from stream_app.worker.faust_fetch_thread import Fetch, FetchThread, _refused
from stream_app.worker.faust_table import TABLE, TimelyTableManager, UsersStore
from stream_app.worker.faust_transport import FetchConsumer
from tests.unit.builders.consumers import OFFSETS, fetch_client
from tests.unit.builders.consumers import run as with_consumer
from tests.unit.builders.leanings import Leaning

EVENTS = TP(load_settings().events_topic, 3)


AGENT = "stream_app/worker/agent.py"
APP = "stream_app/worker/faust_app.py"
JOINS = "stream_app/worker/joins_reader.py"
FETCH_THREAD = "stream_app/worker/faust_fetch_thread.py"
USERS_TABLE = "stream_app/worker/faust_table.py"
TRANSPORT = "stream_app/worker/faust_transport.py"
Thread = driver.AIOKafkaConsumerThread
OVERRIDDEN = [
    Leaning(
        transport.ThreadDelegateConsumer._getmany,
        "active_partitions timeout",
        TRANSPORT,
        "holds events back",
    ),
    Leaning(transport.Consumer._wait_next_records, "timeout", TRANSPORT, "notes which fetches were handed out"),
    Leaning(transport.Consumer.perform_seek, "", TRANSPORT, "forgets which fetches were handed out"),
    Leaning(transport.Consumer.ack, "message", TRANSPORT, "checks that no fetch was lost"),
    Leaning(transport.Consumer.on_buffer_full, "tp", TRANSPORT, "has Faust wait for room"),
    Leaning(transport.Consumer._new_offset, "tp", TRANSPORT, "commits up to the end of a fetch"),
    Leaning(transport.Consumer._drain_messages, "fetcher", TRANSPORT, "hands messages out with fewer tasks"),
    Leaning(Thread.getmany, "active_partitions timeout", FETCH_THREAD, "fetches past the queue of calls"),
    Leaning(MethodQueue._process_enqueued, "p", FETCH_THREAD, "tells the end of a call"),
    Leaning(Fetcher._create_fetch_waiter, "", FETCH_THREAD, "waits for records"),
    Leaning(GroupCoordinator.commit_offsets, "assignment offsets", JOINS, "commits the joins' offsets as a member"),
    Leaning(Thread.call_thread, "fun args kwargs", JOINS, "calls the coordinator in its thread"),
    Leaning(Fetcher._notify, "future", FETCH_THREAD, "ends the wait"),
    Leaning(transport.Consumer.on_stop, "", TRANSPORT, "waits for what was taken in"),
    Leaning(transport.ThreadDelegateConsumer._commit, "offsets", TRANSPORT, "exactly-once commits by itself"),
    Leaning(transport.Consumer.on_partitions_assigned, "assigned generation_id", TRANSPORT, "locks others out"),
    Leaning(driver.Consumer._new_consumer_thread, "", TRANSPORT, "has FetchThread made"),
    Leaning(Thread.on_start, "", FETCH_THREAD, "has heartbeats reported"),
    Leaning(transport.Consumer.on_partitions_revoked, "revoked", TRANSPORT, "finishes what was begun while it stops"),
    Leaning(transport.Consumer.commit, "topics start_new_transaction", TRANSPORT, "commits what Faust forgets"),
    Leaning(Thread._create_worker_consumer, "transport", FETCH_THREAD, "has clients.py make the consumer"),
    Leaning(driver.Producer._new_producer, "transactional_id", TRANSPORT, "has clients.py make the producer"),
    Leaning(
        Thread._fetch_records,
        "consumer active_partitions timeout max_records",
        FETCH_THREAD,
        "wraps fetches",
    ),
    Leaning(Thread._seek_wait, "consumer partitions", FETCH_THREAD, "seeks of recovery and fetches take turns"),
    Leaning(Thread.seek_to_committed, "", FETCH_THREAD, "seeks of streams and fetches take turns"),
    Leaning(Thread._highwaters, "partitions", FETCH_THREAD, "says how far recovery must read"),
    Leaning(Thread.earliest_offsets, "partitions", FETCH_THREAD, "says where the changelog begins"),
    Leaning(Thread.highwater, "tp", FETCH_THREAD, "says where lag is counted to"),
    Leaning(PartitionAssignor.on_assignment, "assignment", APP, "lets a worker come back with another address"),
    Leaning(faust.Table._new_store, "", USERS_TABLE, "makes UsersStore"),
    Leaning(Store.persisted_offset, "tp", USERS_TABLE, "says where recovery begins"),
    Leaning(Store.apply_changelog_batch, "batch to_key to_value", USERS_TABLE, "restores users"),
    Leaning(Store.on_rebalance, "assigned revoked newly_assigned generation_id", USERS_TABLE, "gives slots up"),
    Leaning(Store.on_recovery_completed, "active_tps standby_tps", USERS_TABLE, "says that the worker answers"),
    Leaning(
        TableManager.on_rebalance, "assigned revoked newly_assigned generation_id", USERS_TABLE, "notes which it is"
    ),
    Leaning(Recovery.on_recovery_completed, "generation_id", USERS_TABLE, "tells of its end"),
    Leaning(
        faust.Schema.compile,
        "app on_key_decode_error on_value_decode_error default_propagate",
        TRANSPORT,
        "",
    ),
]


@pytest.mark.parametrize("leaning", OVERRIDDEN, ids=str)
def test_overridden_functions_take_the_same_parameters(leaning: Leaning) -> None:
    names = [name for name in inspect.signature(leaning.function).parameters if name != "self"]
    assert names == leaning.parameters.split(), leaning.broken


def calls(function: Callable[..., Any]) -> list[str]:
    """The names that a function uses, in the order of its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)]
    nodes.sort(key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0))
    return [node.attr if isinstance(node, ast.Attribute) else node.id for node in nodes]


ORDERS = [
    (Leaning(transport.Consumer.getmany, "", TRANSPORT, "fetches are noted in it"), "_wait_next_records"),
    (
        Leaning(transport.Consumer.getmany, "", TRANSPORT, "nothing happens before the first message is handed out"),
        "_wait_next_records iterate flow_active flow_active consumer_generation_id active_partitions "
        "_buffered_partitions to_message",
    ),
    (
        Leaning(transport.Consumer._filter_tps_with_pending_acks, "", TRANSPORT, "keys of _acked are committed"),
        "_acked",
    ),
    (
        Leaning(Thread.verify_event_path, "", TRANSPORT, "it complains of what no stream has heard of"),
        "stream_inbound_time",
    ),
    (
        Leaning(transport.Consumer._wait_next_records, "", TRANSPORT, "events are held back in it"),
        "_getmany",
    ),
    (
        Leaning(transport.ThreadDelegateConsumer._getmany, "", FETCH_THREAD, "it fetches in the thread"),
        "_thread getmany",
    ),
    (
        Leaning(Thread.getmany, "", FETCH_THREAD, "fetches are wrapped in the thread"),
        "_ensure_consumer call_thread _fetch_records active_partitions timeout _max_poll_records",
    ),
    (
        Leaning(transport.Consumer._drain_messages, "", TRANSPORT, "ours does the same, but for gaps"),
        "consumer_should_stop fetcher_should_stop getmany sleep should_stop get_read_offset _add_gap wait_first "
        "callback suspend_flow set_read_offset consumer_stopped_errors should_stop CancelledError should_stop",
    ),
    (Leaning(FaustFetcher._fetcher.fun, "", TRANSPORT, "it does nothing but that"), "consumer _drain_messages self"),
    (
        Leaning(Fetcher.fetched_records, "", FETCH_THREAD, "ours waits in the same way"),
        "timeout _create_fetch_waiter wait waiter timeout waiter result timeout",
    ),
    (
        Leaning(Thread._fetch_records, "", FETCH_THREAD, "asks for records that are there, without a wait"),
        "flow_active _closed _closed ConsumerStoppedError fetched_records active_partitions timeout max_records",
    ),
    (
        Leaning(transport.Consumer._commit_tps, "", TRANSPORT, "the offset to commit is asked for"),
        "_filter_committable_offsets _commit_offsets",
    ),
    (
        Leaning(transport.Consumer._filter_committable_offsets, "", TRANSPORT, "it asks _new_offset"),
        "_new_offset",
    ),
    (
        Leaning(transport.Consumer._commit_offsets, "", TRANSPORT, "all commits go through _commit"),
        "_commit",
    ),
    (
        Leaning(transport.Consumer.on_partitions_assigned, "", TRANSPORT, "recovery must not begin before it"),
        "_on_partitions_assigned",
    ),
    (
        Leaning(transport.Consumer.perform_seek, "", TRANSPORT, "the read offset is None where none is committed"),
        "read_offset _read_offset seek_to_committed read_offset update",
    ),
    (
        Leaning(transport.Consumer._should_commit, "", TRANSPORT, "nothing below the committed offset is committed"),
        "_committed_offset",
    ),
    (
        Leaning(transport.Consumer.on_partitions_revoked, "", TRANSPORT, "what is acknowledged is forgotten first"),
        "_acked pop _on_partitions_revoked",
    ),
    (
        Leaning(App._on_partitions_revoked, "", TRANSPORT, "while it stops, nobody is asked"),
        "should_stop _on_rebalance_when_stopped",
    ),
    (
        Leaning(GroupCoordinator._heartbeat_routine, "", FETCH_THREAD, "each heartbeat is one call, made by name"),
        "self _do_heartbeat",
    ),
    (
        Leaning(
            getattr(GroupCoordinator, "_GroupCoordinator__coordination_routine"),  # noqa: B009 - not our class's name
            "",
            FETCH_THREAD,
            "what keeps it out of the group is pushed, by name",
        ),
        "self _push_error_to_user",
    ),
    (
        Leaning(GroupCoordinator._do_heartbeat, "", FETCH_THREAD, "an unknown member's id is forgotten"),
        "IllegalGenerationError reset_generation UnknownMemberIdError reset_generation",
    ),
    (Leaning(GroupCoordinator.reset_generation, "", FETCH_THREAD, "forgets the id"), "member_id UNKNOWN_MEMBER_ID"),
    (Leaning(Thread.on_start, "", FETCH_THREAD, "aiokafka's consumer is started in it"), "_consumer start"),
    (
        Leaning(App._on_partitions_assigned, "", USERS_TABLE, "the store hears of a rebalance, errors end the app"),
        "_update_assignment tables on_rebalance crash",
    ),
    (
        Leaning(App._on_partitions_revoked, "", APP, "nothing is handed out while `finish_first` waits"),
        "stop_flow flow_control clear on_partitions_revoked send",
    ),
    (
        Leaning(PartitionAssignor.on_assignment, "", APP, "the address that the group knows is compared with `_url`"),
        "loads _decompress user_data external_topic_distribution metadata url _url",
    ),
    (
        Leaning(PartitionAssignor.external_topic_distribution.fset, "", APP, "another thread may ask for an owner"),
        "_external_topic_distribution _external_tps_url",
    ),
    (Leaning(PartitionAssignor._metadata.fget, "", APP, "what the group hears of an address is `_url`"), "_url"),
    (
        Leaning(TableManager.on_start, "", USERS_TABLE, "TimelyTableManager does the same but for the sleep"),
        "self sleep self should_stop self _update_channels self recovery start",
    ),
    (
        Leaning(TableManager.recovery.fget, "", USERS_TABLE, "another recovery is made in its place"),
        "Recovery app beacon",
    ),
    (
        Leaning(App.on_rebalance_start, "", USERS_TABLE, "the number of a rebalance says that it has begun"),
        "rebalancing_count tables on_rebalance_start",
    ),
    (
        Leaning(
            driver.ConsumerRebalanceListener.on_partitions_revoked, "", USERS_TABLE, "it is counted before all else"
        ),
        "on_rebalance_start on_partitions_revoked",
    ),
    (
        Leaning(TableManager.on_rebalance, "", USERS_TABLE, "the store gives slots up before recovery begins"),
        "table on_rebalance recovery on_rebalance",
    ),
    (
        Leaning(Recovery.on_rebalance, "", USERS_TABLE, "recovery begins after the persisted offset"),
        "add_active signal_recovery_start",
    ),
    (Leaning(Recovery._build_highwaters, "", FETCH_THREAD, "recovery reads to the real ends"), "highwaters"),
    (
        Leaning(Recovery._build_offsets, "", FETCH_THREAD, "recovery asks where the changelog begins"),
        "earliest_offsets",
    ),
    (
        Leaning(
            Recovery.on_recovery_completed,
            "",
            TRANSPORT,
            "events are fetched after the seek and the clearing",
        ),
        "perform_seek flow_control resume on_actives_ready",
    ),
    (
        Leaning(Recovery.on_recovery_completed, "", USERS_TABLE, "nothing is said of what is outdated"),
        "consumer_generation_id generation_id warning perform_seek on_actives_ready",
    ),
    (
        Leaning(Recovery._restart_recovery.fun, "", TRANSPORT, "standbys resume before the last clearing"),
        "resume_partitions standby_tps flow_control resume on_recovery_completed",
    ),
    (
        Leaning(Recovery._slurp_changelogs.fun, "", FETCH_THREAD, "a fetch without records moves recovery on"),
        "need_recovery signal_recovery_end message offset apply_changelog_batch",
    ),
    (
        Leaning(driver.ConsumerRebalanceListener.on_partitions_assigned, "", AGENT, "fetches know their generation"),
        "generation consumer_generation_id on_partitions_assigned",
    ),
    (
        Leaning(Thread.verify_event_path, "", TRANSPORT, "Faust complains of a partition without a commit"),
        "tp_last_committed_at",
    ),
]


@pytest.mark.parametrize(("leaning", "order"), ORDERS, ids=[str(leaning) for leaning, _ in ORDERS])
def test_faust_does_its_steps_in_the_order_it_did(leaning: Leaning, order: str) -> None:
    steps = iter(calls(leaning.function))
    for step in order.split():
        assert step in steps, f"{leaning.broken} ({step} is not where it was)"


def test_the_app_takes_its_transport_and_makes_our_consumer_and_thread() -> None:
    async def body(consumer: Any) -> None:
        assert type(consumer) is FetchConsumer, "transport.py leans on app.transport being assignable"
        assert type(consumer._thread) is FetchThread, "transport.py leans on Consumer._new_consumer_thread"
        assert consumer.in_transaction is False, "delivery.py is the guarantee, not Faust's processing_guarantee"

    with_consumer(body)


def test_acknowledgements_collect_where_they_are_taken_from() -> None:
    async def body(consumer: Any) -> None:
        message = consumer._to_message(EVENTS, Fetch(EVENTS, [], 0, 9))
        assert driver.Consumer.ack(consumer, message)
        assert list(consumer._acked[EVENTS]) == [8], "transport.py takes acknowledged offsets from Consumer._acked"
        assert consumer._acked_index[EVENTS] == {8}, "transport.py empties Consumer._acked_index"

    with_consumer(body)


class Channel:
    """A channel with room for one message."""

    key_type = value_type = None

    def __init__(self, app: Any) -> None:
        self.queue = app.FlowControlQueue(maxsize=1)
        self.put = self.queue.put

    async def decode(self, message: Any, *, propagate: bool) -> Any:
        return message


def test_a_full_buffer_is_told_early_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: Any) -> None:
        told: list[TP] = []
        monkeypatch.setattr(FetchConsumer, "on_buffer_full", lambda _, tp: told.append(tp))
        consumer.app.flow_control.resume()
        channel = Channel(consumer.app)
        hand_out = consumer.app.topics._build_handler(EVENTS, {channel})
        first, second = (consumer._to_message(EVENTS, Fetch(EVENTS, [], 0, end)) for end in (5, 9))
        await hand_out(first)
        assert told == [EVENTS], "transport.py: Consumer.on_buffer_full is called for the one that carries"
        waiting = asyncio.create_task(hand_out(second))
        await turns(20)
        assert not waiting.done(), "transport.py has Faust wait for room"
        assert await channel.queue.get() is first
        await asyncio.wait_for(waiting, 5)
        assert await channel.queue.get() is second

    with_consumer(body)


def test_events_wait_for_the_flag_that_recovery_sets() -> None:
    async def body(consumer: Any) -> None:
        app = consumer.app
        assert not app.tables.actives_ready, "transport.py holds events back until tables.actives_ready"
        app.tables.on_actives_ready()
        assert bool(app.tables.actives_ready), "transport.py: recovery sets tables.actives_ready"
        assert app.tables.recovery.active_tps == set(), "transport.py: what is read before is in recovery.active_tps"
        app.on_rebalance_start()
        assert not app.tables.actives_ready, "transport.py: a rebalance unsets tables.actives_ready"
        assert app.rebalancing is True, "worker.py says by app.rebalancing that it is not ready"

    with_consumer(body)


def test_the_thread_makes_a_consumer_with_faust_s_options_but_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(*topics: str, **options: Any) -> dict[str, Any]:
        return options

    monkeypatch.setattr(clients, "Consumer", note)
    monkeypatch.setattr(driver.aiokafka, "AIOKafkaConsumer", note)

    async def body(consumer: Any) -> None:
        thread = consumer._thread
        made = thread._create_consumer(loop=asyncio.get_running_loop())
        assert thread._assignor is consumer.app.assignor, "fetch_thread.py: recovery asks the app's assignor"
        stock = Thread._create_worker_consumer(thread, consumer.transport)
        assert thread._assignor is consumer.app.assignor, "fetch_thread.py assigns as Faust does for an app with tables"
        stock["bootstrap_servers"] = ",".join(stock["bootstrap_servers"])
        differing = {name for name in made.keys() | stock.keys() if made.get(name) != stock.get(name)}
        assert differing == {"isolation_level", "fetch_max_wait_ms", "client_id", "settings"}, (
            "fetch_thread.py has Faust's consumer made with Faust's options"
        )
        assert made["isolation_level"] == "read_committed", "fetch_thread.py reads committed records only"
        assert made["fetch_max_wait_ms"] < stock["fetch_max_wait_ms"], "fetch_thread.py: recovery waits for a fetch"
        assert made["enable_auto_commit"] is False, "transport.py commits in one place"

    with_consumer(body)


def test_faust_never_asks_for_the_errors_of_the_group() -> None:
    source = inspect.getsource(driver) + inspect.getsource(GroupCoordinator._push_error_to_user)
    assert "check_errors" not in source
    assert "_error_consumed_fut" in source, "fetch_thread.py: aiokafka waits for somebody who asks"


def test_refused_offsets_are_raised_with_what_was_refused() -> None:
    """fetch_thread.py reads partition and offset from the errors of a consumer that resets nothing by itself."""

    async def body() -> None:
        response = SimpleNamespace(API_VERSION=11, topics=[(EVENTS.topic, [(3, 1, -1, -1, -1, [], -1, b"")])])

        async def send(*_: Any) -> Any:
            return response

        client = SimpleNamespace(send=send, _loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000)
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([EVENTS])
        assignment = subscriptions.subscription.assignment
        assignment.state_value(EVENTS).reset_to(5)
        fetcher: Any = Fetcher.__new__(Fetcher)
        vars(fetcher).update(
            _client=client,
            _subscriptions=subscriptions,
            _records={},
            _client_rack=None,
            _rack_warning_logged=False,
            _preferred_read_replica={},
            _default_reset_strategy=OffsetResetStrategy.from_str("none"),
            _prefetch_backoff=0.0,
            _wait_consume_future=None,
        )
        request = SimpleNamespace(topics=[(EVENTS.topic, [(3, 5, 100)])])
        assert await fetcher._proc_fetch_request(assignment, 1, request), "fetch_thread.py: whoever fetches hears of it"
        with pytest.raises(OffsetOutOfRangeError) as refused:
            await fetcher.fetched_records([EVENTS])
        assert _refused(refused.value) == (EVENTS, 5), "fetch_thread.py reads it from there"
        assert assignment.state_value(EVENTS).position == 5, "fetch_thread.py: the position stays"
        assert _refused(NoOffsetForPartitionError(EVENTS)) == (EVENTS, None), "fetch_thread.py reads it from there"
        source = inspect.getsource(Fetcher._update_fetch_positions)
        assert "NoOffsetForPartitionError(tp)" in source, "fetch_thread.py reads the partition from it"

    asyncio.run(body())


def test_positions_are_where_they_are_read_from() -> None:
    async def body() -> None:
        subscription: Any = Subscription({EVENTS.topic})
        assert not subscription.assignment, "fetch_thread.py: no positions before an assignment"
        subscription._assign([EVENTS])
        state = subscription.assignment.state_value(EVENTS)
        assert not state.has_valid_position, "fetch_thread.py asks has_valid_position"
        state.reset_to(5)
        state.consumed_to(9)
        assert (state.has_valid_position, state.position) == (True, 9), "fetch_thread.py reads position"
        assert state._position == 9, "transport.py reads _position, which another thread may unset"
        consumer = AIOKafkaConsumer()
        assert consumer._subscription.subscription is None, "fetch_thread.py reads consumer._subscription.subscription"
        await consumer.stop()

    asyncio.run(body())


async def turns(count: int) -> None:
    """Lets the event loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_request_for_the_next_fetch_is_made_right_after_records_were_taken() -> None:
    """By the two values that the fetcher has then: fetch_thread.py has that one request wait at the broker."""

    async def body() -> None:
        asked: list[tuple[int, int]] = []

        async def send(_: int, request: Any) -> Any:
            asked.append((request._max_wait_ms, request._min_bytes))
            return await asyncio.get_running_loop().create_future()

        client = fetch_client(send)
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([EVENTS])
        assignment = subscriptions.subscription.assignment
        state = assignment.state_value(EVENTS)
        state.reset_to(5)
        state.pause()  # until there are records
        fetcher: Any = Fetcher(client, subscriptions)
        batches = [SimpleNamespace(is_control_batch=True, next_offset=6, producer_id=None)]
        records = SimpleNamespace(has_next=lambda: bool(batches), next_batch=lambda: batches.pop(0))
        fetched = PartitionRecords(EVENTS, records, [], 5, None, None, False, 1)
        try:
            await turns(20)
            fetcher._records[EVENTS] = FetchResult(EVENTS, assignment=assignment, partition_records=fetched, backoff=60)
            state.resume()
            await turns(20)
            assert asked == [], "fetch_thread.py: no fetch before the records of the one before it were taken"
            assert await fetcher.fetched_records([EVENTS]) == {}
            fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = 17, 4711
            async with asyncio.timeout(5):
                while not asked:  # noqa: ASYNC110 - nothing says that it was
                    await asyncio.sleep(0)
            assert asked == [(17, 4711)], "fetch_thread.py has the next fetch wait"
        finally:
            await fetcher.close()

    asyncio.run(body())


def test_a_fetch_of_nothing_but_markers_moves_the_position() -> None:
    async def body() -> None:
        assignment = Assignment([EVENTS])
        assignment.state_value(EVENTS).reset_to(5)
        marker = SimpleNamespace(is_control_batch=True, next_offset=6, producer_id=None)
        batches = [marker]
        records = SimpleNamespace(has_next=lambda: bool(batches), next_batch=lambda: batches.pop(0))
        fetched = PartitionRecords(EVENTS, records, [], 5, None, None, False, 1)
        result = FetchResult(EVENTS, assignment=assignment, partition_records=fetched, backoff=0)
        assert result.getall() == []
        assert assignment.state_value(EVENTS).position == 6, (
            "fetch_thread.py: recovery ends by the position behind markers"
        )

    asyncio.run(body())


def test_messages_carry_the_generation_of_the_group() -> None:
    async def body(consumer: Any) -> None:
        consumer.app.consumer_generation_id = 41
        message = consumer._to_message(EVENTS, Fetch(EVENTS, [], 0, 9))
        assert message.generation_id == 41, "agent.py drops fetches of an older generation of the group"

    with_consumer(body)


def test_the_table_asks_our_store() -> None:
    async def body(consumer: Any) -> None:
        table = consumer.app.tables[TABLE]
        assert type(table.data) is UsersStore, "table.py leans on Table._new_store"
        assert table.recovery_buffer_size == 2, "table.py: with 1 Faust goes on reading the changelog after recovery"
        assert table.standby_buffer_size == 1, "table.py: a standby stores each fetch as it comes"
        changelog = TP(table.changelog_topic.get_topic_name(), 3)
        assert table.persisted_offset(changelog) == OFFSETS[3], (
            "table.py: recovery begins at the store's persisted offset"
        )

    with_consumer(body)


def test_a_stream_without_acknowledgement_still_yields_events() -> None:
    stream = faust.Stream
    assert {"noack", "events"} <= set(dir(stream)), "agent.py iterates stream.noack().events()"


def test_the_table_manager_is_ours_and_has_its_table_from_the_beginning() -> None:
    async def body(consumer: Any) -> None:
        assert type(consumer.app.tables) is TimelyTableManager, "app.py leans on the setting TableManager"
        assert list(consumer.app.tables) == [TABLE], "table.py: no table comes late, so nobody need be waited for"

    with_consumer(body)


def test_agents_are_stopped_before_the_consumer() -> None:
    async def body(consumer: Any) -> None:
        app = consumer.app
        started = [service for service in app.boot_strategy.server() if service in (app.agents, consumer)]
        assert started == [consumer, app.agents], "agent.py: stopped in reverse, so the last commit waits for agents"

    with_consumer(body)


def test_versions_are_those_that_all_this_was_written_for() -> None:
    assert faust.__version__ == "0.15.3", "read the changes of Faust, then this file again"
    assert aiokafka.__version__.startswith("0.14."), "read the changes of aiokafka, then this file again"
