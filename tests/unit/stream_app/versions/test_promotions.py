"""Promotions: who is champion after which records, and to which version a rollback returns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import VersionRefused
from stream_app.versions.promotions import (
    Promotion,
    VersionRef,
    decode_promotion,
    elect,
    encode_promotion,
    promoted_after,
    rolled_back,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FIRST_RECORDS = (  # from before there were predecessors and a format
    b'{"version":"v0","path":"/models/v0","manifest_sha256":"aa",'
    b'"promoted_at":"2026-01-02T11:00:00.000001+00:00","metrics":{"recall@20":0.25}}'
)


def version_ref(name: str) -> VersionRef:
    return VersionRef(version=name, path=f"/models/{name}", manifest_sha256=name * 2)


def promoted(*names: str) -> Promotion:
    """Returns the promotion of the last version, when all were promoted one after the other, a minute between."""
    champion: Promotion | None = None
    for number, name in enumerate(names):
        champion = promoted_after(champion, version_ref(name), {}, NOON + timedelta(minutes=number))
    assert champion is not None
    return champion


def predecessors(promotion: Promotion) -> list[str]:
    return [before.version for before in promotion.predecessors]


def test_what_is_written_is_read() -> None:
    promotion = promoted("a", "b")
    assert decode_promotion(encode_promotion(promotion)) == promotion
    assert promotion.version_ref == version_ref("b")


def test_a_record_without_the_later_fields_is_read() -> None:
    promotion = decode_promotion(FIRST_RECORDS)
    assert (promotion.version, promotion.predecessors, promotion.metrics) == ("v0", (), {"recall@20": 0.25})
    assert promotion.promoted_at == datetime(2026, 1, 2, 11, microsecond=1, tzinfo=UTC)


def test_fields_of_the_future_are_ignored_but_a_format_of_the_future_is_refused() -> None:
    record = json.loads(FIRST_RECORDS)
    assert decode_promotion(json.dumps({**record, "signature": "x"}).encode()).version == "v0"
    with pytest.raises(VersionRefused, match="format 2"):
        decode_promotion(json.dumps({"format": 2}).encode())


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"v2",
        b"[]",
        b"{}",
        b"\xff\xfe",
        FIRST_RECORDS.replace(b"v0", b"\xff"),
        FIRST_RECORDS.replace(b"+00:00", b""),
        FIRST_RECORDS.replace(b"2026-01-02T", b"someday "),
        FIRST_RECORDS.replace(b'"aa"', b"7"),
        b"[" * 9999,
    ],
)
def test_a_record_that_cannot_be_read_is_refused_and_changes_nothing(value: bytes | None) -> None:
    with pytest.raises(VersionRefused) as refused:
        decode_promotion(value)
    assert refused.value.reason == "promotion"
    champion = promoted("a")
    election = elect([value], champion)
    assert election.champion is champion
    assert [(name, refusal.reason) for name, refusal in election.refused] == [("?", "promotion")]


def test_a_late_record_is_refused_and_changes_nothing() -> None:
    late, champion = promoted("a"), promoted("b", "c")
    election = elect([encode_promotion(late)], champion)
    assert election.champion is champion
    ((name, refusal),) = election.refused
    assert (name, refusal.reason) == ("a", "older")
    assert "c of 2026-01-02T12:01:00" in str(refusal)


@given(st.lists(st.integers(0, 5), max_size=6))
def test_the_latest_promotion_counts_and_of_equals_the_last_record(minutes: list[int]) -> None:
    records = [
        encode_promotion(promoted_after(None, version_ref(f"v{number}"), {}, NOON + timedelta(minutes=minute)))
        for number, minute in enumerate(minutes)
    ]
    best = max(enumerate(minutes), key=lambda pair: (pair[1], pair[0]), default=None)
    champion = elect(records).champion
    assert (champion and champion.version) == (best and f"v{best[0]}")


def test_a_promotion_is_later_than_the_one_before_whatever_the_clock_says() -> None:
    champion = promoted("a")
    behind = NOON - timedelta(days=1)
    assert promoted_after(champion, version_ref("b"), {}, behind).promoted_at > champion.promoted_at
    assert rolled_back(promoted("a", "b"), {}, behind).promoted_at > promoted("a", "b").promoted_at


def test_each_rollback_goes_further_back_and_drops_the_version_that_it_leaves() -> None:
    back = rolled_back(promoted("a", "b", "c"), {}, NOON + timedelta(hours=1))
    assert (back.version_ref, predecessors(back)) == (version_ref("b"), ["a"])
    again = rolled_back(back, {}, NOON + timedelta(hours=2))
    assert (again.version_ref, predecessors(again)) == (version_ref("a"), [])
    after = promoted_after(back, version_ref("d"), {}, NOON + timedelta(hours=2))
    assert predecessors(after) == ["b", "a"]


def test_a_version_is_not_its_own_predecessor() -> None:
    assert predecessors(promoted("a", "a")) == []
    assert predecessors(promoted("a", "b", "c", "a")) == ["c", "b"]


def test_a_promotion_names_at_most_ten_predecessors() -> None:
    names = [f"v{number}" for number in range(30)]
    assert predecessors(promoted(*names)) == names[-2:-12:-1]
