"""Says in words what a Kafka cluster lacks for this stream, as managed ones differ: for `nextact doctor`.

What this leans on: `AIOKafkaAdminClient._send_request` takes any request of aiokafka's protocol. API keys and versions
are those of Kafka's protocol guide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import InvalidTransactionTimeout, KafkaError, NoError, TransactionalIdAuthorizationFailed, for_code
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from stream_app.contract.access import doctor_transactional_id
from stream_app.kafka.clients import new_admin
from stream_app.kafka.refusals import missing_right
from stream_app.kafka.topic_checks import MIN_IN_SYNC, TopicState, max_bytes, missing_topics, problem_of, replicas_of
from stream_app.settings import Settings

_PRODUCE, _FETCH, _JOIN_GROUP, _PRODUCER_ID, _CONFIGS = 0, 1, 11, 22, 32  # API keys
_TRANSACTIONS: Final = {24: "AddPartitionsToTxn", 25: "AddOffsetsToTxn", 26: "EndTxn", 28: "TxnOffsetCommit"}
_STATIC_MEMBERS: Final = 5  # version of JoinGroup that has them (KIP-345)
_ZSTD: Final = 7  # version of Produce that has it (KIP-110)
_OF_TRANSACTION: Final = 1  # kind of coordinator
_PATIENCE_S: Final = 10.0  # for a coordinator that is not there yet
_AS_SENT: Final = ("producer", "")  # values of a topic's compression.type that leave batches as they come
_FILES_PER_PARTITION: Final = 8  # that a worker has open: local store and sockets, generously
_OTHER_FILES: Final = 256

Level = Literal["ok", "warn", "FAIL"]


class Finding(NamedTuple):
    """What a check says; only FAIL is wrong."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What a cluster answers."""

    cluster: str  # its id
    brokers: int
    versions: Mapping[int, tuple[int, int]]  # by API key: the lowest and the highest that a broker speaks
    idempotence: type[KafkaError]  # the answer to a request for a producer id; NoError: it has idempotent producers
    transactions: type[KafkaError] | None  # the answer to one for transactions; None: not asked for


async def look_at_cluster(settings: Settings, transaction_timeout_ms: int) -> ClusterState:
    """Asks the cluster what it is able to do, with an operator's rights. Raises aiokafka's errors.

    With delivery exactly-once a transactional id of doctor's own is registered, which fences nobody.
    """
    admin = new_admin(settings, "operator", request_timeout_ms=10_000)
    try:
        await admin.start()
        described = await admin.describe_cluster()
        answer = await admin._send_request(ApiVersionRequest())
        transactions = None
        if settings.delivery == "exactly-once":
            transactions = await _try_transactions(admin, doctor_transactional_id(settings), transaction_timeout_ms)
        return ClusterState(
            cluster=str(described["cluster_id"]),
            brokers=len(described["brokers"]),
            versions={key: (lowest, highest) for key, lowest, highest in answer.api_versions},
            idempotence=for_code((await admin._send_request(InitProducerIdRequest(None, 0))).error_code),
            transactions=transactions,
        )
    finally:
        await admin.close()


async def _try_transactions(admin: AIOKafkaAdminClient, name: str, timeout_ms: int) -> type[KafkaError]:
    give_up = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        found: Any = await admin._send_request(FindCoordinatorRequest(name, _OF_TRANSACTION))
        error: type[KafkaError] = for_code(found.error_code)
        if error is NoError:
            made = await admin._send_request(InitProducerIdRequest(name, timeout_ms), found.coordinator_id)
            error = for_code(made.error_code)
        if not error.retriable or asyncio.get_running_loop().time() > give_up:
            return error
        await asyncio.sleep(0.2)


def cluster_findings(settings: Settings, state: ClusterState) -> list[Finding]:
    """Judges what a cluster is able to do."""
    spoken = ", ".join(
        f"{name} {'-'.join(map(str, state.versions[key]))}"
        for key, name in ((_PRODUCE, "Produce"), (_FETCH, "Fetch"))
        if key in state.versions
    )
    brokers = f"{state.brokers} broker{'s' if state.brokers > 1 else ''}"
    found = [Finding("ok", f"Kafka at {settings.brokers}: cluster {state.cluster}, {brokers}, speaks {spoken}")]
    if state.brokers == 1:
        found.append(Finding("warn", "the cluster has one broker: what is on it is lost when its disk is"))
    found.append(_idempotence(state))
    found.append(_transactions(settings, state))
    if settings.instance_id and state.versions.get(_JOIN_GROUP, (0, 0))[1] < _STATIC_MEMBERS:
        found.append(Finding("FAIL", "NEXTACT_INSTANCE_ID is set, but the cluster has no static members (Kafka 2.3)"))
    if _CONFIGS not in state.versions:
        found.append(Finding("warn", "the cluster does not tell how topics are set: nothing below says it"))
    return found


def _idempotence(state: ClusterState) -> Finding:
    if _PRODUCER_ID not in state.versions:
        return Finding("FAIL", "the cluster has no idempotent producers: no worker or trainer can write to it")
    if state.idempotence is NoError:
        return Finding("ok", "idempotent producers")
    return Finding("FAIL", f"idempotent producers are refused: {state.idempotence.__name__}")


def _transactions(settings: Settings, state: ClusterState) -> Finding:
    lacking = [name for key, name in _TRANSACTIONS.items() if key not in state.versions]
    if lacking:
        level: Level = "FAIL" if settings.delivery == "exactly-once" else "ok"
        lacks = ", ".join(lacking)
        return Finding(level, f"the cluster has no transactions ({lacks}): NEXTACT_DELIVERY can only be at-least-once")
    if state.transactions is None:
        return Finding("ok", "transactions are there, and not used (NEXTACT_DELIVERY=at-least-once)")
    if state.transactions is NoError:
        return Finding("ok", "transactions, for exactly-once")
    why = state.transactions.__name__
    if state.transactions is InvalidTransactionTimeout:
        why = "its transaction.max.timeout.ms is shorter than a minute"
    elif state.transactions is TransactionalIdAuthorizationFailed:
        why = str(missing_right("Write", "transactional id", repr(doctor_transactional_id(settings))))
    return Finding("FAIL", f"transactions, which exactly-once needs, are refused: {why}")


def compression_finding(state: ClusterState, compression: str) -> Finding:
    """Judges whether the brokers take what the settings say of compression."""
    if compression == "zstd" and state.versions.get(_PRODUCE, (0, 0))[1] < _ZSTD:
        return Finding("FAIL", "the brokers do not know zstd (Kafka 2.1): choose another NEXTACT_COMPRESSION")
    return Finding("ok", f"compression {compression}, which the brokers know")


def topic_findings(settings: Settings, states: Collection[TopicState], brokers: int) -> list[Finding]:
    """Judges the topics: what is missing, and the others one by one."""
    found = [_topic(settings, state, brokers) for state in states if state.partitions]
    missing = [state.spec for state in states if not state.partitions]
    found += [
        Finding("warn", f"topic {spec.name} is missing, and the stream works without it; `nextact topics` makes it")
        for spec in missing
        if spec.optional
    ]
    if missing := [spec for spec in missing if not spec.optional]:
        found.append(Finding("FAIL", missing_topics(settings, missing, replicas_of(settings, brokers))))
    return found


def _topic(settings: Settings, state: TopicState, brokers: int) -> Finding:
    if problem := problem_of(settings, state):
        return Finding("FAIL", problem)
    shape = f"topic {state.name}: {_counted(state.partitions, 'partition')}, {_counted(state.replicas, 'replica')}"
    if state.config is None:
        return Finding("warn", f"{shape}; how it is set cannot be seen: grant DescribeConfigs on it")
    in_sync, policy = int(state.config.get(MIN_IN_SYNC) or 1), state.config.get("cleanup.policy", "")
    shape += f", {MIN_IN_SYNC} {in_sync}, cleanup {policy}, batches of at most {max_bytes(state.config):,} bytes"
    if in_sync > state.replicas:
        return Finding("FAIL", f"{shape}; nothing can be written: {MIN_IN_SYNC} is more than it has replicas")
    if state.name == settings.events_topic and "compact" in policy:
        return Finding("FAIL", f"{shape}; compaction removes a user's older events: set cleanup.policy=delete")
    remarks = [remark for remark in _remarks(state, in_sync, brokers) if remark]
    return Finding("warn" if remarks else "ok", "; ".join([shape, *remarks]))


def _remarks(state: TopicState, in_sync: int, brokers: int) -> list[str]:
    config = state.config or {}
    compressed = config.get("compression.type", "")
    return [
        "with one replica it is lost with a broker" if state.replicas == 1 < brokers else "",
        f"with {MIN_IN_SYNC}=1 a record counts as written that one broker alone has: set 2"
        if state.replicas > 2 and in_sync == 1
        else "",
        "while a broker is away nothing can be written" if in_sync == state.replicas > 1 else "",
        "" if compressed in _AS_SENT else f"the brokers compress every batch again ({compressed})",
    ]


def files_finding(settings: Settings, limit: int) -> Finding:
    """Judges how many files a process may open on this machine; `limit` below 0: any number."""
    needed = _OTHER_FILES + _FILES_PER_PARTITION * settings.partitions
    if 0 <= limit < needed:
        return Finding(
            "warn",
            f"a process may open {limit:,} files, and a worker that has all {settings.partitions} partitions opens "
            f"about {needed:,}: raise the limit (ulimit -n)",
        )
    return Finding("ok", f"files: a process may open {'any number' if limit < 0 else f'{limit:,}'}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
