"""Collects what is told of users in a batch, and makes the records of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.state.visits import Visit, VisitEnd
from stream_app.contract.signals.signal import (
    MeasuredBy,
    Signal,
    SignalItem,
    SignalKind,
    SignalVisit,
    encode_signal,
    signal_id,
    signal_namespace,
)
from stream_app.contract.string_columns import strings
from stream_app.kafka.encoded_batch import RecordBatch
from stream_app.kafka.record_batch import KeyedValues, partitioned_batches
from stream_app.settings import Settings
from stream_app.signals.late_sections import Owner


class ToldSignals:
    """The signals of a batch."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = signal_namespace(settings.stream_epoch, settings.events_topic)
        self._signals: list[tuple[Owner, Signal]] = []

    def end(self, owner: Owner, ended: VisitEnd, measured_by: MeasuredBy) -> None:
        """Tells all that there is to tell of a visit that has ended."""
        fields: dict[str, Any] = {
            "timestamp": ended.ended,
            "measured_by": measured_by,
            "visit": SignalVisit(ended.number, ended.begun, ended.last, ended.actions),
        }
        which = str(ended.number)
        self._add(owner, "visit_ended", which, fields)
        if ended.left_in_cart:
            items = [SignalItem(item) for item in ended.left_in_cart]
            self._add(owner, "cart_abandoned", which, fields | {"items": items})
        if ended.expected:
            self._add(owner, "purchase_expected", which, fields | {"purchase_probability": ended.expected})

    def move(self, owner: Owner, visit: Visit, names: list[str], at: int, measured_by: MeasuredBy) -> None:
        """Tells which audiences a user has entered and left at a time, by when events came; notes it in the visit."""
        fields: dict[str, Any] = {
            "timestamp": visit.last + at - visit.arrived,
            "measured_by": measured_by,
            "visit": SignalVisit(visit.number, visit.begun, visit.last, visit.actions),
        }
        moves: list[tuple[SignalKind, str]] = [("audience_left", name) for name in visit.audiences if name not in names]
        moves += [("audience_entered", name) for name in names if name not in visit.audiences]
        for kind, name in moves:
            visit.changes += 1
            self._add(owner, kind, f"{visit.changes}/{name}", fields | {"audience": name})
        visit.audiences = names

    def take(self) -> tuple[list[tuple[int, RecordBatch]], list[SignalKind]]:
        """Returns the records of all signals, each batch with the partition of its users, and the signals' kinds."""
        told, self._signals = self._signals, []
        if not told:
            return [], []
        every = np.arange(len(told))
        keys = strings([user.encode() for (_, user), _ in told])
        partitions = np.array([partition for (partition, _), _ in told], np.int64)
        records = KeyedValues(keys, partitions, every, strings([encode_signal(signal) for _, signal in told]), every)
        batches = partitioned_batches(records, compression=self._settings.compression).batches
        return batches, [signal.kind for _, signal in told]

    def _add(self, owner: Owner, kind: SignalKind, which: str, fields: dict[str, Any]) -> None:
        """Adds a signal; `which` tells it from all others of the kind and the user."""
        identity = signal_id(self._namespace, *owner, f"{kind}/{which}")
        self._signals.append((owner, Signal(signal_id=identity, kind=kind, user_id=owner[1], **fields)))
