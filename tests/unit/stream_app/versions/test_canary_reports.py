"""Reports on a canary: what is not a report is ignored, and a changed report is sent once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaTimeoutError

from model.serving.canary import HitCounts
from stream_app.kafka import clients
from stream_app.settings import Settings
from stream_app.versions import canary_reports
from stream_app.versions.canary_reports import CanaryReport, decode_canary_report, report_canary
from stream_app.versions.promotions import CHAMPION

SETTINGS = Settings.model_construct()


def report(number: int) -> CanaryReport:
    counts = HitCounts(scored=10 * number, hits=number, reciprocal_ranks=number / 2)
    return CanaryReport(worker="w", version="v2", before="v1", new=counts, old=counts)


def test_what_is_written_is_read() -> None:
    assert decode_canary_report(msgspec.json.encode(report(3))) == report(3)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b"\xff", b"[" * 9999, b'{"worker": 1}'])
def test_a_value_that_is_not_a_report_is_ignored(value: bytes | None) -> None:
    assert decode_canary_report(value) is None


@pytest.mark.parametrize(
    "counts",
    [(-1, 0, 0.0), (5, 6, 1.0), (5, 5, 5.5), (5, -1, 0.0), (5, 3, -1.0), (2**60, 1, 1.0)],
    ids=["negative", "more hits than events", "ranks above hits", "negative hits", "negative ranks", "too many"],
)
def test_counts_that_cannot_be_true_are_ignored(counts: tuple[int, int, float]) -> None:
    good = report(3)
    for field_name in ("new", "old"):
        bad = msgspec.structs.replace(good, **{field_name: HitCounts(*counts)})
        assert decode_canary_report(msgspec.json.encode(bad)) is None


def test_a_report_that_is_too_long_to_keep_is_ignored() -> None:
    assert decode_canary_report(msgspec.json.encode(msgspec.structs.replace(report(3), worker="w" * 5000))) is None


@dataclass
class Sends:
    """A producer that keeps what it is given, after as many failures as it is asked for."""

    failures: int = 0
    records: list[tuple[str, CanaryReport | None, bytes, int]] = field(default_factory=list)
    stopped: bool = False

    def __call__(self, **_: Any) -> Sends:
        return self

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def send_and_wait(self, topic: str, value: bytes, key: bytes, *, partition: int) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaTimeoutError
        self.records.append((topic, decode_canary_report(value), key, partition))


def sent(monkeypatch: pytest.MonkeyPatch, producer: Sends, *reports: CanaryReport | None) -> list[CanaryReport | None]:
    """Runs the reporter with these reports, one after the other; returns those that were sent."""
    upcoming = iter(reports)
    monkeypatch.setattr(clients, "Producer", producer)
    monkeypatch.setattr(canary_reports, "_EVERY_S", 0)

    async def run() -> None:
        ended = asyncio.Event()

        def current_report() -> CanaryReport | None:
            current = next(upcoming, None)
            if current is None:
                ended.set()
            return current

        task = asyncio.create_task(report_canary(SETTINGS, "w", current_report))
        await asyncio.wait_for(ended.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert producer.stopped
    return [value for _, value, _, _ in producer.records]


def test_a_report_is_sent_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Sends()
    assert sent(monkeypatch, producer, report(1), report(1), report(2)) == [report(1), report(2)]
    assert {(topic, key, partition) for topic, _, key, partition in producer.records} == {
        (SETTINGS.canary_topic, b"trial:w", 0)
    }
    assert not CHAMPION.startswith(canary_reports.KEY)


def test_a_report_that_could_not_be_sent_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(monkeypatch, Sends(failures=1), report(1), report(1)) == [report(1)]
    assert "the canary report on v2 was not sent, trying again" in caplog.text
