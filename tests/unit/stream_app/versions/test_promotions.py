"""Promotions: who is champion after which records, and to which version a rollback returns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated

import msgspec
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
REGISTRY = "s3://bucket/models"
HASH = "0123456789abcdef" * 4
FIRST_RECORDS = (  # from before there were predecessors and a format
    b'{"version":"v0","path":"/models/v0","manifest_sha256":"' + HASH.encode() + b'",'
    b'"promoted_at":"2026-01-02T11:00:00.000001+00:00","metrics":{"recall@20":0.25}}'
)


class EarlierVersionRef(msgspec.Struct, frozen=True, kw_only=True):
    """As nextact 0.1.0 read and wrote it."""

    version: str
    path: str
    manifest_sha256: str


class EarlierPromotion(EarlierVersionRef, frozen=True, kw_only=True):
    """As nextact 0.1.0 read and wrote it."""

    promoted_at: Annotated[datetime, msgspec.Meta(tz=True)]
    metrics: dict[str, float]
    predecessors: tuple[EarlierVersionRef, ...] = ()
    format: int = 1


def encode(promotion: Promotion) -> bytes:
    return encode_promotion(promotion, REGISTRY)


def version_ref(name: str) -> VersionRef:
    return VersionRef(version=name, manifest_sha256=sha256(name.encode()).hexdigest())


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
    promotion = msgspec.structs.replace(promoted("a", "b"), promoted_by="trainer t1")
    assert decode_promotion(encode(promotion)) == promotion
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


def test_an_earlier_nextact_reads_what_is_written_and_finds_it_in_the_registry_of_who_promotes() -> None:
    promotion = promoted_after(promoted("a", "b"), version_ref("c"), {"recall@20": 0.5}, NOON, "trainer t1")
    read = msgspec.json.decode(encode(promotion), type=EarlierPromotion)
    assert (read.version, read.path, read.manifest_sha256) == (
        "c",
        "s3://bucket/models/c",
        version_ref("c").manifest_sha256,
    )
    assert [(before.version, before.path) for before in read.predecessors] == [
        ("b", "s3://bucket/models/b"),
        ("a", "s3://bucket/models/a"),
    ]
    assert (read.promoted_at, read.metrics, read.format) == (promotion.promoted_at, {"recall@20": 0.5}, 1)


def test_what_an_earlier_nextact_wrote_is_read_but_for_the_addresses() -> None:
    before = EarlierVersionRef(version="a", path="http://elsewhere/a", manifest_sha256=HASH)
    record = EarlierPromotion(
        version="b",
        path="reference::http://elsewhere/refs.json",
        manifest_sha256=HASH[::-1],
        promoted_at=NOON,
        metrics={"recall@20": 0.5},
        predecessors=(before,),
    )
    promotion = decode_promotion(msgspec.json.encode(record))
    assert promotion.version_ref == VersionRef(version="b", manifest_sha256=HASH[::-1])
    assert promotion.predecessors == (VersionRef(version="a", manifest_sha256=HASH),)
    assert (promotion.promoted_at, promotion.metrics, promotion.promoted_by) == (NOON, {"recall@20": 0.5}, "")
    assert b"elsewhere" not in encode(promotion)


@pytest.mark.parametrize(
    "registry", ["s3://key:hunter2hunter2@bucket/models", "https://h/models?sv=2024&sig=hunter2hunter2"]
)
def test_secrets_of_the_registry_do_not_go_to_kafka(registry: str) -> None:
    record = encode_promotion(promoted("a", "b"), registry)
    assert b"hunter2" not in record
    read = msgspec.json.decode(record, type=EarlierPromotion)
    assert (read.path, read.predecessors[0].path) == ("b", "a")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", ".a", "-a", "--help", "a/b", "/etc", "a\n", "a\nb", "a..b", "x" * 65, "a::b", "é"]
)
def test_a_record_that_names_what_is_no_version_is_refused_in_one_short_line(name: str) -> None:
    record = json.loads(FIRST_RECORDS) | {"version": name}
    with pytest.raises(VersionRefused, match="its record names the version ") as refused:
        decode_promotion(json.dumps(record).encode())
    assert refused.value.reason == "promotion"
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
    kept = {"version": "a", "path": "", "manifest_sha256": HASH}
    predecessors = [{**kept, "version": name}, kept, {**kept, "manifest_sha256": "x"}]
    found = decode_promotion(json.dumps(json.loads(FIRST_RECORDS) | {"predecessors": predecessors}).encode())
    assert found.predecessors == (VersionRef(version="a", manifest_sha256=HASH),), "no rollback goes to the others"


def test_who_promoted_and_when_is_in_the_record_and_safe_to_print() -> None:
    promotion = promoted_after(None, version_ref("a"), {}, NOON, "operator alice@host")
    assert decode_promotion(encode(promotion)).circumstances == "2026-01-02 12:00:00+00:00 by operator alice@host"
    back = rolled_back(promoted("a", "b"), {}, NOON, "trainer t1")
    assert decode_promotion(encode(back)).promoted_by == "trainer t1"
    hostile = json.loads(FIRST_RECORDS) | {"promoted_by": "me\x1b[2J\r\nrefused version" + 500 * "x"}
    found = decode_promotion(json.dumps(hostile).encode()).promoted_by
    assert found.isprintable()
    assert found.startswith("me[2Jrefused version")
    assert len(found) == 128
    assert decode_promotion(FIRST_RECORDS).circumstances == "2026-01-02 11:00:00+00:00"


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
        FIRST_RECORDS.replace(b'"' + HASH.encode() + b'"', b"7"),
        FIRST_RECORDS.replace(HASH.encode(), b"aa"),
        FIRST_RECORDS.replace(HASH.encode(), HASH.encode() + b"\\n"),
        FIRST_RECORDS.replace(HASH.encode(), HASH.upper().encode()),
        FIRST_RECORDS.replace(b"2026-01-02T11:00:00.000001+00:00", b"9999-12-31T23:59:59.999999-14:00"),
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
    election = elect([encode(late)], champion)
    assert election.champion is champion
    ((name, refusal),) = election.refused
    assert (name, refusal.reason) == ("a", "older")
    assert "c of 2026-01-02T12:01:00" in str(refusal)


@given(st.lists(st.integers(0, 5), max_size=6))
def test_the_latest_promotion_counts_and_of_equals_the_last_record(minutes: list[int]) -> None:
    records = [
        encode(promoted_after(None, version_ref(f"v{number}"), {}, NOON + timedelta(minutes=minute)))
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
