"""Names what Kafka refuses: the right that is missing, or why there is no connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka.errors import (
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    StaleMetadata,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from model.errors import NextactError
from stream_app.errors import AuthorizationFailed, UsageError
from stream_app.kafka.diagnosis import diagnose
from stream_app.settings import Settings

_OF_CONNECTIONS: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    StaleMetadata,
    OSError,
    TimeoutError,
    ValueError,  # aiokafka's for an address that cannot be read
)
_TABLE: Final = "deploy/README.md has the rights that each role needs"


def missing_right(operation: str, resource: str, name: str) -> AuthorizationFailed:
    """Returns the error that names the operation and the resource, in Kafka's words."""
    return AuthorizationFailed(
        f"not authorised at Kafka: the right to {operation} on {resource} {name} is missing for the user of this "
        f"process; {_TABLE}"
    )


def refusal(error: BaseException, operation: str) -> AuthorizationFailed | None:
    """Returns the error for a right that is missing, where that is what `error` or one of its causes says.

    `operation`: what was to be done, where the resource does not say it.
    """
    for cause in _causes(error):
        match cause:
            case AuthorizationFailed():
                return cause
            case TopicAuthorizationFailedError():
                return missing_right(operation, "topic", _names(cause))
            case GroupAuthorizationFailedError():
                return missing_right("Read", "group", _names(cause))
            case TransactionalIdAuthorizationFailed():
                return missing_right("Write", "transactional id", _names(cause))
            case ClusterAuthorizationFailedError():
                right = "IdempotentWrite" if operation == "Write" else operation
                return missing_right(right, "the cluster", "")
    return None


@contextmanager
def named_rights(operation: str) -> Iterator[None]:
    """Turns aiokafka's errors for a right that is missing into `AuthorizationFailed`; see `refusal`."""
    try:
        yield
    except KafkaError as error:
        if (missing := refusal(error, operation)) is not None:
            raise missing from error
        raise


async def explained(settings: Settings, error: Exception, operation: str) -> NextactError:
    """Returns the error that says in one line what went wrong at Kafka while doing `operation`, and the way out."""
    if isinstance(error, NextactError):
        return error
    if (missing := refusal(error, operation)) is not None:
        return missing
    if isinstance(error, _OF_CONNECTIONS):
        return await diagnose(settings, error)
    what = type(error).__name__ if isinstance(error, BrokerResponseError) else repr(error)
    return UsageError(f"Kafka at {settings.brokers} refuses to {operation}: {what}; the broker's log says why")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _names(error: KafkaError) -> str:
    """Returns the names of the resources that an error of aiokafka bears."""
    if not error.args:
        return "of an unknown name"
    named = error.args[0]
    return ", ".join(map(repr, [named] if isinstance(named, str) else sorted(named)))
