"""nextact's own records that are no action: what was shown, and who an anonymous user is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.contract.decoded import DecodedBatch, Identity, ShownList
from stream_app.contract.events import decode_batch
from tests.unit.builders.basics import make_record

SHOWN: dict[str, Any] = {"user_id": "u", "type": "shown", "items": ["a", {"item_id": "b", "price": 3}, "a"]}
IDENTIFY: dict[str, Any] = {"user_id": "u", "type": "identify", "anonymous_id": "device"}


def batch_of(value: dict[str, Any], key: bytes | None = b"u") -> DecodedBatch:
    """Decodes a record between two others."""
    view = json.dumps({"user_id": "u", "type": "view", "item_id": "i"}).encode()
    records = [make_record(view), make_record(json.dumps(value).encode(), key=key, timestamp=8), make_record(view)]
    batch = decode_batch(records)
    assert batch.positions == [0, 2]
    return batch


def reason(value: dict[str, Any], key: bytes | None = b"u") -> str:
    (rejection,) = batch_of(value, key).rejected
    assert rejection.position == 1
    return rejection.reason


def test_a_list_has_its_items_in_order() -> None:
    (shown,) = batch_of(SHOWN).shown
    assert shown == ShownList("u", ["a", "b", "a"], time=8, record_time=8, position=1)


def test_all_fields_of_a_list() -> None:
    fields = {"prediction_id": "p", "slate": "home", "event_id": "e", "session_id": "s"}
    (shown,) = batch_of(SHOWN | fields | {"type": "Shown", "timestamp": 7, "other": [1]}).shown
    assert shown == ShownList("u", ["a", "b", "a"], time=7, record_time=8, position=1, **fields)


def test_a_list_without_items_is_ignored() -> None:
    batch = batch_of(SHOWN | {"items": []})
    assert (batch.ignored, batch.shown, batch.rejected) == (["shown"], [], [])


@pytest.mark.parametrize(
    ("change", "reason_given"),
    [
        ({"items": None}, "invalid_field"),
        ({"items": [{"price": 3}]}, "missing_field"),
        ({"items": [7]}, "invalid_field"),
        ({"items": [""]}, "invalid_field"),
        ({"items": ["i" * 257]}, "invalid_field"),
        ({"slate": 7}, "invalid_field"),
        ({"timestamp": "yesterday"}, "invalid_timestamp"),
        ({"user_id": "v"}, "key_mismatch"),
        ({"user_id": "u" * 257}, "too_long"),
    ],
)
def test_a_list_that_is_wrong_is_rejected(change: dict[str, Any], reason_given: str) -> None:
    assert reason(SHOWN | change) == reason_given


def test_a_list_needs_a_user_a_key_and_items() -> None:
    assert reason({"type": "shown", "items": ["a"]}) == "missing_field"
    assert reason({"type": "shown", "user_id": "u"}) == "missing_field"
    assert reason(SHOWN, None) == "missing_key"


@pytest.mark.parametrize("key", [b"u", b"device"])
def test_an_identity_lies_under_either_id(key: bytes) -> None:
    batch = batch_of(IDENTIFY | {"timestamp": 7, "event_id": "e"}, key)
    assert batch.identities == [Identity("u", "device", time=7, record_time=8, event_id="e", position=1)]
    assert batch.rejected == []


@pytest.mark.parametrize("anonymous_id", [None, "u"])
def test_an_identity_of_one_id_is_ignored(anonymous_id: str | None) -> None:
    batch = batch_of(IDENTIFY | {"anonymous_id": anonymous_id})
    assert (batch.ignored, batch.identities, batch.rejected) == (["identify"], [], [])


@pytest.mark.parametrize(
    ("change", "reason_given"),
    [
        ({"user_id": "v"}, "key_mismatch"),
        ({"anonymous_id": 7}, "invalid_field"),
        ({"anonymous_id": "d" * 257}, "too_long"),
        ({"timestamp": "2026-01-02"}, "invalid_timestamp"),
    ],
)
def test_an_identity_that_is_wrong_is_rejected(change: dict[str, Any], reason_given: str) -> None:
    assert reason(IDENTIFY | change) == reason_given


def test_an_identity_needs_a_key() -> None:
    assert reason(IDENTIFY, None) == "missing_key"
