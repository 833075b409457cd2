"""How a worker ends where it cannot go on: with a line that says why, and the exit code of a failed data path."""

from __future__ import annotations

import logging
import os

import pytest

from stream_app.errors import DataPathError, TooManyDeadLetters
from stream_app.worker.worker import fail

FAILURES = [
    (TooManyDeadLetters("most are not events"), ["this worker ends: most are not events"], False),
    (KeyError("slot"), ["the data path failed, this worker ends: KeyError('slot')"], True),
    (RuntimeError("CUDA error: lost"), ["the data path failed", "NEXTACT_DEVICE_FALLBACK=true"], True),
]


@pytest.mark.parametrize(("error", "said", "with_stack"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_failure_ends_the_process_and_says_why(
    error: BaseException,
    said: list[str],
    with_stack: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(os, "_exit", _raise)
    with pytest.raises(SystemExit) as end:
        fail(error)
    assert end.value.code == DataPathError.exit_code
    assert len(caplog.records) == len(said)
    assert all(words in record.getMessage() for words, record in zip(said, caplog.records, strict=True))
    assert (caplog.records[0].exc_info is not None) is with_stack


def _raise(code: int) -> None:
    raise SystemExit(code)
