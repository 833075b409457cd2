"""Whatever a round fails of has a reason, a line and a count."""

from __future__ import annotations

import errno
import logging
import subprocess

import pytest
import torch
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from model.errors import VersionNotSaved, VersionRefused
from stream_app.errors import BrokerUnreachable, NoRoomOnDisk, UsageError
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.round_failures import RoundFailures, failure_reason

NO_COMPILER = RuntimeError("Failed to find C compiler. Please specify via CC environment variable")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (VersionRefused("unreadable", "cuda-models/v1 does not answer"), "registry"),
        (VersionNotSaved("no permission"), "registry"),
        (KafkaConnectionError(), "kafka"),
        (BrokerUnreachable("nobody answers"), "kafka"),
        (NoRoomOnDisk("full"), "disk"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "memory"),
        (NO_COMPILER, "device"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (subprocess.CalledProcessError(1, ["gcc", "/tmp/x/cuda_utils.c"]), "device"),
        (type("CompilationError", (Exception,), {"__module__": "triton.compiler.errors"})("at 1:2"), "device"),
        (ValueError("a bug"), "other"),
        (OSError(errno.EIO, "Input/output error"), "other"),
        (UsageError("triton is not meant"), "other"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason


def test_a_failure_is_counted_and_logged_with_a_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    failures = RoundFailures(TrainerMetrics(registry))
    with caplog.at_level(logging.INFO):
        for error in (VersionNotSaved("the disk is full"), NO_COMPILER, NO_COMPILER, ValueError("two\nlines")):
            failures.note(error)
    lines = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    compiler = (
        "round failed (device), the champion stays: RuntimeError: Failed to find C compiler. Please specify via CC "
        "environment variable"
    )
    assert lines == [
        ("round failed (registry), the champion stays: the disk is full", False),
        (compiler, True),
        (compiler, False),
        ("round failed (other), the champion stays: ValueError: two lines", True),
    ]
    count = {
        reason: registry.get_sample_value("nextact_trainer_round_failures_total", {"reason": reason})
        for reason in ("registry", "device", "other", "memory")
    }
    assert count == {"registry": 1, "device": 2, "other": 1, "memory": 0}
