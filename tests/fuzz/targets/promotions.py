"""Promotions and canary reports: any value is one, or is refused in one line; what is accepted can be followed.

An input begins with a byte: 0 for a promotion, else a canary report.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from model.errors import VersionRefused
from model.serving.canary import HitCounts, regression_message, total_arm
from model.serving.hit_moments import HitMoments
from model.versions.version_name import is_version_name
from stream_app.versions.canary_reports import CanaryReport, decode_canary_report
from stream_app.versions.promotions import (
    Promotion,
    VersionRef,
    decode_promotion,
    elect,
    encode_promotion,
    promoted_after,
    rolled_back,
)

_NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_REF: Final = VersionRef(version="v2", manifest_sha256="0" * 64)
_REGISTRY: Final = "/registry"


def check(data: bytes) -> None:
    """Decodes a value, and does with it what its readers do."""
    if data[:1] > b"\0":
        _check_report(data[1:])
    else:
        _check_promotion(data[1:])


def _check_promotion(value: bytes) -> None:
    try:
        promotion = decode_promotion(value)
    except VersionRefused as refusal:
        _check_refusal(value, str(refusal))
        return
    _check_names(promotion)
    assert decode_promotion(encode_promotion(promotion, _REGISTRY)) == promotion
    assert elect([value, value]).champion == promotion
    assert promotion.circumstances.isprintable()
    after = promoted_after(promotion, _REF, {}, _NOW)
    assert after.promoted_at > promotion.promoted_at
    assert elect([value, encode_promotion(after, _REGISTRY), value]).champion == after
    if promotion.predecessors:
        back = rolled_back(promotion, {}, _NOW)
        assert back.version == promotion.predecessors[0].version
        assert elect([value, encode_promotion(back, _REGISTRY)]).champion == back


def _check_refusal(value: bytes, message: str) -> None:
    assert "\n" not in message
    assert len(message) < 1000
    assert [str(refusal) for _, refusal in elect([value]).refused] == [message]


def _check_names(promotion: Promotion) -> None:
    for ref in (promotion, *promotion.predecessors):
        assert is_version_name(ref.version)
        assert ".." not in ref.version
        assert "/" not in ref.version
        assert len(ref.manifest_sha256) == 64


def _check_report(value: bytes) -> None:
    report = decode_canary_report(value)
    if report is None:
        return
    assert decode_canary_report(msgspec.json.encode(report)) == report or len(value) > 2000
    new, old = report.arms
    message = regression_message(total_arm([new] * 3), total_arm([old] * 3), 0.0)
    assert message is None or "\n" not in message


def seeds() -> list[bytes]:
    """Returns promotions, reports, and what is refused of them."""
    first = promoted_after(None, VersionRef(version="v1", manifest_sha256="a" * 64), {"hit": 0.25}, _NOW, "trainer 1")
    second = promoted_after(first, _REF, {}, _NOW, "x")
    report = CanaryReport(worker="w", version="v2", before="v1", new=HitCounts(200, 1, 0.5), old=HitCounts(200, 90, 9))
    moments = HitMoments(50, 900.0, 5.0, 5.0, 4.0, 2.0)
    robust = msgspec.structs.replace(report, new_moments=moments, old_moments=moments, phase="holdback")
    fields = msgspec.to_builtins(second)
    odd = [
        {**fields, "version": "../v1"}, {**fields, "format": 2}, {**fields, "promoted_at": "9999-12-31T23:59:59Z"},
        {**fields, "promoted_at": "0001-01-01T00:00:00+23:59"}, {**fields, "manifest_sha256": "A"},
        {**fields, "predecessors": [{"version": "-x", "manifest_sha256": "a" * 64}]}, {**fields, "promoted_by": "\n"},
        {**fields, "metrics": {"loss": -1e308}},
    ]  # fmt: skip
    promotions = [encode_promotion(first, _REGISTRY), encode_promotion(second, "s3://u:p@bucket"), b"{}", b"\xff", b"["]
    promotions += map(msgspec.json.encode, odd)
    reports = [
        msgspec.json.encode(report),
        msgspec.json.encode(robust),
        msgspec.json.encode(msgspec.structs.replace(report, new=HitCounts(-1))),
    ]
    return [b"", *(b"\0" + value for value in promotions), *(b"\1" + value for value in reports)]


TOKENS: Final[Sequence[bytes]] = [
    *(f'"{name}":'.encode() for name in (*Promotion.__struct_fields__, *CanaryReport.__struct_fields__)),
    b'"0001-01-01T00:00:00+23:59"', b"1e308", b"1e400", b"9007199254740993", b'"\\ud800"', b"\\n", b"null",
]  # fmt: skip
