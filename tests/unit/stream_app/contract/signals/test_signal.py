"""Signals as subscribers read them, and their ids."""

from __future__ import annotations

import json

import msgspec
import pytest

from stream_app.contract.signals.signal import (
    Signal,
    SignalItem,
    SignalVisit,
    decode_signal,
    encode_signal,
    signal_id,
    signal_namespace,
)

VISIT = SignalVisit(3, 1_000, 5_000, 4)


def test_what_is_written_is_read_and_what_does_not_apply_is_left_out() -> None:
    ended = Signal(signal_id="i", kind="visit_ended", user_id="ü", timestamp=9, measured_by="clock", visit=VISIT)
    left = msgspec.structs.replace(ended, kind="cart_abandoned", items=[SignalItem("a")])
    assert json.loads(encode_signal(ended)) == {
        "signal_id": "i",
        "kind": "visit_ended",
        "user_id": "ü",
        "timestamp": 9,
        "measured_by": "clock",
        "visit": {"number": 3, "begun": 1_000, "last": 5_000, "actions": 4},
    }
    assert [decode_signal(encode_signal(one)) for one in (ended, left)] == [ended, left]
    with pytest.raises(msgspec.DecodeError):
        decode_signal(b'{"kind": "sunrise"}')


def test_ids_tell_streams_partitions_users_and_what_is_told_apart() -> None:
    first, second = signal_namespace(1, "shop.events"), signal_namespace(2, "shop.events")
    whats = [(first, 0, "u", "a/1"), (second, 0, "u", "a/1"), (first, 1, "u", "a/1"), (first, 0, "v", "a/1")]
    ids = {signal_id(*what) for what in [*whats, (first, 0, "u", "a/2")]}
    assert len(ids) == 5
    assert signal_id(*whats[0]) in ids
