"""`nextact doctor`: where settings come from, and checks that fail."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.cli.doctor import check_setup
from stream_app.sandbox.ports import HOST, free_port
from stream_app.settings import load_settings


def test_settings_are_shown_with_their_origin_and_failures_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTACT_GROUP", "mine")
    monkeypatch.setenv("NEXTACT_REGISTRY", "s3://key:secret@bucket/models")
    address = f"{HOST}:{free_port()}"
    settings = load_settings({"brokers": address, "device": "abacus"})
    lines: list[str] = []
    assert not asyncio.run(check_setup(settings, {"brokers", "device"}, lines.append))
    origins = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ") and "FAIL" not in line}
    assert origins["brokers"] == [address, "command", "line"]
    assert origins["group"] == ["mine", "NEXTACT_GROUP"]
    assert origins["registry"] == ["s3://***@bucket/models", "NEXTACT_REGISTRY"]
    assert origins["partitions"][1:] == ["default"]
    failures = [line for line in lines if "FAIL" in line]
    assert len(failures) == 2
    assert "abacus" in failures[0]
    assert address in failures[1]
