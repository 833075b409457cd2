"""The errors of the stream. The root and the model's errors are in `model.errors`.

NextactError (model.errors)
├── UsageError               the user can mend it: a value, a file, an address (exit code 2)
│   ├── SettingsInvalid      a setting has a value that is not allowed
│   ├── BrokerUnreachable    no Kafka broker answers
│   ├── AuthenticationFailed Kafka does not know this user, or does not believe them
│   ├── AuthorizationFailed  Kafka does not let this user do what they are to do
│   ├── TlsRefused           broker or client does not accept the other's certificate
│   ├── WrongProtocol        a port does not speak as this client does: with or without TLS or SASL
│   ├── TopicMismatch        a topic is missing, or not as the contract requires it
│   ├── VersionUnusable      a model version is missing, or no worker would serve it
│   ├── EventRefused         no worker would take the event
│   ├── QuestionRefused      no worker answers the question as it was asked
│   │   ├── TokenRefused     workers ask for a token, or for another one
│   │   └── UnknownSubject   nobody knows the user or the item
│   ├── WorkerUnreachable    no worker has answered in time
│   ├── InputUnreadable      a file, a column or a row cannot be read
│   ├── HistoryUnusable      the history is in use, cannot be written, or belongs to another stream
│   └── RuntimeMissing       a package or a Java runtime is not installed
│       └── DeviceUnusable   a device is missing or does not work
├── DataPathError            events can no longer be handled safely: the process ends (exit code 70)
│   ├── HistoryFailed        the history could not be written or read to the end
│   └── TooManyDeadLetters   most records are not events
├── NoRoomOnDisk             a round of training found no space on disk for its events
├── ChildFailed              a worker or trainer that another process started has ended by itself
└── BrokerFailed             the embedded broker did not start, or died
"""

from __future__ import annotations

from model.errors import NextactError


class UsageError(NextactError):
    """The user can mend it; shown without a traceback."""

    exit_code = 2


class SettingsInvalid(UsageError):
    """A setting has a value that is not allowed."""


class BrokerUnreachable(UsageError):
    """No Kafka broker answers at the address."""


class AuthenticationFailed(UsageError):
    """Kafka does not know this user, or does not believe them."""


class AuthorizationFailed(UsageError):
    """Kafka does not let this user do what they are to do."""


class TlsRefused(UsageError):
    """The broker or the client does not accept the other's certificate."""


class WrongProtocol(UsageError):
    """A port does not speak as this client does: with or without TLS or SASL."""


class TopicMismatch(UsageError):
    """A topic is missing, or not as the contract requires it."""


class VersionUnusable(UsageError):
    """A model version is missing, or no worker would serve it."""


class EventRefused(UsageError):
    """No worker would take the event; it was not published."""


class QuestionRefused(UsageError):
    """No worker answers the question as it was asked."""


class TokenRefused(QuestionRefused):
    """Workers ask for a token, or for another one."""


class UnknownSubject(QuestionRefused):
    """Nobody knows the user or the item."""


class WorkerUnreachable(UsageError):
    """No worker has answered in time."""


class InputUnreadable(UsageError):
    """A file, a column or a row of it cannot be read."""


class HistoryUnusable(UsageError):
    """The history is in use, cannot be written, or belongs to another stream."""


class RuntimeMissing(UsageError):
    """A package or a Java runtime that is needed is not installed."""


class DeviceUnusable(RuntimeMissing):
    """The device that was asked for is missing or does not work."""


class NoRoomOnDisk(NextactError):
    """There is no space on disk for the events of a round of training; the champion stays."""


class ChildFailed(NextactError):
    """A worker or trainer that another process started has ended by itself."""


class BrokerFailed(NextactError):
    """The embedded broker did not start, or died."""


class DataPathError(NextactError):
    """Events can no longer be handled safely; the process must end (`sysexits.h`: EX_SOFTWARE)."""

    exit_code = 70


class HistoryFailed(DataPathError):
    """The history could not be written or read to the end; Kafka still has what it lacks."""


class TooManyDeadLetters(DataPathError):
    """So many records are not events that their publisher, or this worker, must be wrong."""
