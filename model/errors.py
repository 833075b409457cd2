"""The root of the error tree, and the errors of the model package.

A message says what happened, with which value, and what to do about it. It hides the secrets of addresses in it.

    NextactError
    ├── RecordCorrupt        a stored user record that fails its checks
    ├── VersionRefused       a model version that must not be served (`reason`: a closed set of words)
    ├── VersionNotSaved      a model version that could not be written
    ├── TooLittleData        not enough events to train on
    └── (stream_app.errors)  the errors of the stream
"""

from __future__ import annotations

from typing import Final, Literal

from model.addresses import without_secrets

RefusalReason = Literal[
    "promotion",  # the record that announces it cannot be read
    "older",  # it was announced before the version that serves
    "unreadable",  # the storage does not answer or denies access
    "missing_file",
    "size",  # a file is larger or smaller than its manifest says, or the manifest says too much
    "hash",
    "format",
    "shape",
    "not_finite",
    "warm_up",  # it cannot answer on this device
]


_LONGEST_LINE: Final = 500  # characters of an error of others in a message of ours


def one_line(error: BaseException) -> str:
    """Returns class and message of an error of others as one line, cut: compilers say a lot."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


class NextactError(Exception):
    """Root of all errors that nextact raises on purpose."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))


class RecordCorrupt(NextactError):
    """A stored user record fails its checksum, version or length."""


class VersionRefused(NextactError):
    """A model version that must not be served."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason: RefusalReason = reason


class VersionNotSaved(NextactError):
    """A model version that could not be written."""


class TooLittleData(NextactError):
    """Not enough events, users or items to fit a model."""
