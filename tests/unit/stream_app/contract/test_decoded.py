"""What records say: rejections carry reasons of a closed set, and nothing that is said can be changed."""

from __future__ import annotations

import pytest

from stream_app.contract.decoded import REASONS, Contents, DecodedBatch, RejectedRecord, ShownList


def test_a_rejection_has_a_reason_of_the_closed_set() -> None:
    error = RejectedRecord("empty", "the record has no value")
    assert error.reason in REASONS
    assert str(error) == "the record has no value"
    assert len(set(REASONS)) == len(REASONS)


def test_batches_share_nothing() -> None:
    DecodedBatch().ignored.append("scroll")
    assert DecodedBatch().ignored == []


def test_contents_are_frozen() -> None:
    shown = ShownList("u", ["a"], time=1, record_time=2)
    with pytest.raises(AttributeError):
        shown.position = 3  # type: ignore[misc]
    assert Contents(shown=(shown,)).actions == ()
