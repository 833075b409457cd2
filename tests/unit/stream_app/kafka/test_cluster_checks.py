"""What `nextact doctor` says of clusters that lack something; whole ones are asked in tests/integration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTransactionTimeout,
    NoError,
    TransactionalIdAuthorizationFailed,
)

from stream_app.contract.topics import topics
from stream_app.kafka.cluster_checks import (
    ClusterState,
    Finding,
    cluster_findings,
    compression_finding,
    files_finding,
    topic_findings,
)
from stream_app.kafka.topic_checks import TopicState
from stream_app.settings import load_settings

SETTINGS = load_settings()
EXACTLY_ONCE = load_settings({"delivery": "exactly-once"})
WHOLE = ClusterState("c", 3, dict.fromkeys(range(40), (0, 13)), NoError, NoError)


def without(*keys: int) -> ClusterState:
    return replace(WHOLE, versions={key: spoken for key, spoken in WHOLE.versions.items() if key not in keys})


def told(findings: list[Finding], level: str) -> str:
    return "\n".join(finding.text for finding in findings if finding.level == level)


def test_a_whole_cluster_lacks_nothing() -> None:
    findings = cluster_findings(EXACTLY_ONCE, WHOLE)
    assert {finding.level for finding in findings} == {"ok"}
    assert "cluster c, 3 brokers, speaks Produce 0-13, Fetch 0-13" in findings[0].text


@pytest.mark.parametrize(
    ("state", "settings", "level", "said"),
    [
        (without(22), SETTINGS, "FAIL", "no idempotent producers"),
        (replace(WHOLE, idempotence=ClusterAuthorizationFailedError), SETTINGS, "FAIL", "ClusterAuthorizationFailed"),
        (without(24, 28), SETTINGS, "ok", "no transactions (AddPartitionsToTxn, TxnOffsetCommit)"),
        (without(24, 28), EXACTLY_ONCE, "FAIL", "can only be at-least-once"),
        (replace(WHOLE, transactions=None), SETTINGS, "ok", "not used"),
        (replace(WHOLE, transactions=InvalidTransactionTimeout), EXACTLY_ONCE, "FAIL", "transaction.max.timeout.ms"),
        (
            replace(WHOLE, transactions=TransactionalIdAuthorizationFailed),
            EXACTLY_ONCE,
            "FAIL",
            "the right to Write on transactional id",
        ),
        (replace(WHOLE, versions={11: (0, 4)}), load_settings({"instance_id": "w1"}), "FAIL", "NEXTACT_INSTANCE_ID"),
        (without(32), SETTINGS, "warn", "does not tell how topics are set"),
        (replace(WHOLE, brokers=1), SETTINGS, "warn", "one broker"),
    ],
)
def test_what_a_cluster_lacks_is_told_in_words(state: ClusterState, settings: Any, level: str, said: str) -> None:
    assert said in told(cluster_findings(settings, state), level)


def test_a_codec_that_the_brokers_do_not_know() -> None:
    old = replace(WHOLE, versions={0: (0, 6)})
    assert compression_finding(old, "zstd").level == "FAIL"
    assert compression_finding(old, "lz4").level == compression_finding(WHOLE, "zstd").level == "ok"


def state_of(name: str, replicas: int = 3, **config: str) -> TopicState:
    (spec,) = (spec for spec in topics(SETTINGS) if spec.name == name)
    settings = {"min.insync.replicas": "2", "cleanup.policy": spec.config.get("cleanup.policy", "delete")}
    return TopicState(spec, spec.partitions, replicas, settings | {k.replace("_", "."): v for k, v in config.items()})


@pytest.mark.parametrize(
    ("state", "level", "said"),
    [
        (state_of("shop.events"), "ok", "8 partitions, 3 replicas, min.insync.replicas 2, cleanup delete"),
        (state_of("shop.models"), "ok", "1 partition, 3 replicas"),
        (state_of("shop.events", min_insync_replicas="1"), "warn", "one broker alone has"),
        (state_of("shop.events", 2), "warn", "while a broker is away nothing can be written"),
        (state_of("shop.events", 1), "FAIL", "nothing can be written"),
        (state_of("shop.events", 1, min_insync_replicas="1"), "warn", "lost with a broker"),
        (state_of("shop.events", compression_type="zstd"), "warn", "compress every batch again (zstd)"),
        (state_of("shop.events", compression_type="producer"), "ok", "shop.events"),
        (state_of("shop.events", cleanup_policy="compact,delete"), "FAIL", "older events"),
        (state_of("shop.users-changelog", cleanup_policy="delete"), "FAIL", "must be 'compact'"),
        (replace(state_of("shop.events"), config=None), "warn", "grant DescribeConfigs"),
    ],
)
def test_what_is_wrong_with_a_topic_is_told_in_words(state: TopicState, level: str, said: str) -> None:
    (finding,) = topic_findings(SETTINGS, [state], brokers=3)
    assert finding.level == level, finding
    assert said in finding.text


def test_missing_topics_are_told_in_one_line() -> None:
    missing = [replace(state_of(name), partitions=0) for name in ("shop.models", "shop.events")]
    first, last = topic_findings(SETTINGS, [*missing, state_of("shop.predictions")], brokers=3)
    assert (first.level, last.level) == ("ok", "FAIL")
    assert "shop.models (1 partition, cleanup.policy=compact, min.insync.replicas=2); shop.events (8" in last.text


def test_too_few_files_for_the_partitions() -> None:
    assert files_finding(SETTINGS, 256).level == "warn"
    assert files_finding(load_settings({"partitions": 200}), 1024).level == "warn"
    assert files_finding(SETTINGS, 1024).level == files_finding(SETTINGS, -1).level == "ok"
