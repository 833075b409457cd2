"""Names why a round of training failed, for the log, a metric and an alert: whatever it was, the champion stays."""

from __future__ import annotations

import errno
import logging
from typing import Final

import torch
from aiokafka.errors import KafkaError

from model.errors import NextactError, VersionNotSaved, VersionRefused, one_line
from stream_app.errors import BrokerUnreachable, NoRoomOnDisk
from stream_app.trainer.metrics import FailureReason, TrainerMetrics

logger: Final = logging.getLogger(__name__)

_OF_DEVICES: Final = ("cuda", "cublas", "cudnn", "nccl", "triton", "c compiler", "device-side")  # words of their errors


def failure_reason(error: BaseException) -> FailureReason:
    """Returns the reason in a word; `other` is what nobody has foreseen."""
    if isinstance(error, VersionRefused | VersionNotSaved):
        return "registry"
    if isinstance(error, KafkaError | BrokerUnreachable):
        return "kafka"
    if isinstance(error, NoRoomOnDisk) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return "disk"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    return "device" if not isinstance(error, NextactError) and _of_a_device(error) else "other"


def _of_a_device(error: BaseException) -> bool:
    """Returns whether an error comes from a GPU, or from what compiles for it; these have classes of all kinds."""
    text = f"{type(error).__module__} {error}".lower()
    return any(word in text for word in _OF_DEVICES)


class RoundFailures:
    """Logs and counts the rounds that failed; what nobody has foreseen comes with a traceback once."""

    def __init__(self, metrics: TrainerMetrics) -> None:
        self._metrics = metrics
        self._seen: set[type[BaseException]] = set()

    def note(self, error: Exception) -> None:
        """Notes why a round failed."""
        reason, kind = failure_reason(error), type(error)
        self._metrics.failures.labels(reason).inc()
        foreseen = isinstance(error, NextactError)
        text = str(error) if foreseen else one_line(error)
        unseen = not foreseen and kind not in self._seen
        self._seen.add(kind)
        logger.error("round failed (%s), the champion stays: %s", reason, text, exc_info=error if unseen else None)
        if not unseen:
            logger.debug("where the round failed", exc_info=error)
