"""Rights that are missing, named from what aiokafka raises."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from stream_app.errors import AuthorizationFailed, BrokerUnreachable, TopicMismatch
from stream_app.kafka.refusals import explained, named_rights, refusal
from stream_app.settings import Settings

NOWHERE = Settings(brokers="127.0.0.1:1")


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (TopicAuthorizationFailedError("shop.events"), "Write on topic 'shop.events'"),
        (TopicAuthorizationFailedError({"b", "a"}), "Write on topic 'a', 'b'"),
        (TopicAuthorizationFailedError(), "Write on topic of an unknown name"),
        (GroupAuthorizationFailedError("nextact"), "Read on group 'nextact'"),
        (TransactionalIdAuthorizationFailed("nextact.3"), "Write on transactional id 'nextact.3'"),
        (ClusterAuthorizationFailedError(), "IdempotentWrite on the cluster"),
    ],
)
def test_a_missing_right_is_named_with_operation_and_resource(error: KafkaError, right: str) -> None:
    named = refusal(error, "Write")
    assert f"the right to {right}" in " ".join(str(named).split())
    assert "deploy/README.md" in str(named)


def test_it_is_found_behind_what_was_made_of_it() -> None:
    error = KafkaError("Unexpected error during batch delivery")
    error.__cause__ = TopicAuthorizationFailedError("shop.events")
    assert "Read on topic 'shop.events'" in str(refusal(error, "Read"))
    assert refusal(KafkaError("other"), "Read") is None
    circle = KafkaError("its own cause")
    circle.__cause__ = circle
    assert refusal(circle, "Read") is None


def test_only_connections_are_looked_into() -> None:
    def say(error: Exception) -> Exception:
        return asyncio.run(explained(NOWHERE, error, "Read"))

    assert isinstance(say(KafkaConnectionError("x")), BrokerUnreachable)
    ours = TopicMismatch("ours")
    assert say(ours) is ours
    assert str(say(InvalidTopicError())) == (
        "Kafka at 127.0.0.1:1 refuses to Read: InvalidTopicError; the broker's log says why"
    )


def test_a_missing_right_is_named_where_it_is_missed_and_all_else_stays_as_it_is() -> None:
    with (
        pytest.raises(AuthorizationFailed, match=r"the right to Write on topic 'shop\.predictions'"),
        named_rights("Write"),
    ):
        raise TopicAuthorizationFailedError("shop.predictions")
    stays = KafkaConnectionError("nobody answers")
    with pytest.raises(KafkaConnectionError) as caught, named_rights("Write"):
        raise stays
    assert caught.value is stays
