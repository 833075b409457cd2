"""`nextact doctor`: where settings come from, failures with their reasons, and secrets that nobody sees."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Collection
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_app.cli.doctor import check_setup
from stream_app.sandbox.ports import HOST, free_port
from stream_app.settings import PREFIX, Settings, load_settings

SECRET_FIELDS = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, object]:
    """Settings with which nothing is there."""
    folders = {name: str(tmp_path / name) for name in ("registry", "history")}
    return {"brokers": f"{HOST}:{free_port()}", **folders}


def checked(settings: Settings, given: Collection[str] = ()) -> tuple[bool, list[str]]:
    lines: list[str] = []
    return asyncio.run(check_setup(settings, given, lines.append)), lines


def test_settings_are_shown_with_their_origin_and_failures_with_their_reason(
    nowhere: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "user").write_text("me\n")
    monkeypatch.setenv("NEXTACT_GROUP", "mine")
    monkeypatch.setenv("NEXTACT_CLIENT_RACK_FILE", str(tmp_path / "user"))
    monkeypatch.setenv("NEXTACT_BROKER", "b")
    settings = load_settings({**nowhere, "device": "abacus"})
    well, lines = checked(settings, {"brokers", "device"})
    assert not well
    origins = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ") and "FAIL" not in line}
    assert origins["brokers"] == [settings.brokers, "command", "line"]
    assert origins["group"] == ["mine", "NEXTACT_GROUP"]
    assert origins["client_rack"] == ["me", "NEXTACT_CLIENT_RACK_FILE", f"({tmp_path / 'user'})"]
    assert origins["partitions"][1:] == ["default"]
    variable, device, kafka = (line for line in lines if "FAIL" in line)
    assert "NEXTACT_BROKER is not a setting: did you mean NEXTACT_BROKERS?" in variable
    assert "abacus" in device
    assert settings.brokers in kafka


def test_no_secret_is_shown(nowhere: dict[str, object]) -> None:
    settings = load_settings(
        {
            **nowhere,
            "registry": f"ftp://user:hunter2/x@{nowhere['brokers']}/models",
            "history": f"ftp://user:hunter2/y@{nowhere['brokers']}/history?sig=hunter2-hunter2",
        }
    ).model_copy(update={name: SecretStr(f"hunter2-{name}") for name in SECRET_FIELDS})
    assert len(SECRET_FIELDS) >= 3
    well, lines = checked(settings)
    text = "\n".join(lines)
    assert not well
    assert "hunter2" not in text + repr(settings) + str(settings)
    assert f"ftp://***@{nowhere['brokers']}/models" in text
    for what in ("registry", "history", "Kafka"):
        assert [line for line in lines if line.startswith(f"  FAIL  {what}")], text


def test_few_files_are_a_warning(nowhere: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    _, lines = checked(load_settings({**nowhere, "device": "cpu"}))
    assert [line for line in lines if line.startswith("  warn  a process may open 256 files")]
