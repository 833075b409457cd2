"""The errors of the stream; the root and the model's are in `model.errors`.

NextactError (model.errors)
├── UsageError           the user can mend it: a value, a file, an address (exit code 2)
│   ├── SettingsInvalid  a setting with a value that cannot be
│   ├── BrokerUnreachable
│   ├── TopicMismatch    a topic that exists, but not as the contract needs it
│   ├── VersionUnusable  a model version that is not there or that no worker would serve
│   ├── InputUnreadable  a file or a column that cannot be read
│   ├── HistoryUnusable  a history that is in use, cannot be written, or is another stream's
│   └── RuntimeMissing   a package or a Java runtime that is not there
│       └── DeviceUnusable   a device that is not there or does not work
├── DataPathError        events can no longer be handled safely: the process ends (exit code 70)
│   ├── HistoryFailed    the history could not be written or read to the end
│   └── TooManyDeadLetters
├── NoRoomOnDisk         a round of training could not put aside what the memory has no room for
├── ChildFailed          a worker or trainer that another process started has ended
└── BrokerFailed         the embedded broker did not start or died
"""

from __future__ import annotations

from model.errors import NextactError


class UsageError(NextactError):
    """The user can mend it; shown without a traceback."""

    exit_code = 2


class SettingsInvalid(UsageError):
    """A setting has a value that cannot be."""


class BrokerUnreachable(UsageError):
    """No Kafka broker answers at the address."""


class TopicMismatch(UsageError):
    """A topic exists, but not as the contract needs it."""


class VersionUnusable(UsageError):
    """A model version is not there, or no worker would serve it."""


class InputUnreadable(UsageError):
    """A file, a column or a row of it cannot be read."""


class HistoryUnusable(UsageError):
    """The history is in use, cannot be written, or is another stream's."""


class RuntimeMissing(UsageError):
    """Something that this machine would need is not there."""


class DeviceUnusable(RuntimeMissing):
    """The device that was asked for is not there, or does not work."""


class NoRoomOnDisk(NextactError):
    """There is no space for the events of a round; the champion stays."""


class ChildFailed(NextactError):
    """A worker or trainer that another process started has ended by itself."""


class BrokerFailed(NextactError):
    """The embedded broker did not start, or died."""


class DataPathError(NextactError):
    """Events can no longer be handled safely; the process must end (`sysexits.h`: EX_SOFTWARE)."""

    exit_code = 70


class HistoryFailed(DataPathError):
    """The history could not be written or read; Kafka still has what it lacks."""


class TooManyDeadLetters(DataPathError):
    """So many records are no events that not they are wrong, but what publishes them, or this worker."""
