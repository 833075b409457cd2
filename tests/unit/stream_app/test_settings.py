"""Settings: the command line before the environment before the defaults, and errors that name setting and value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream_app.errors import SettingsInvalid, UsageError
from stream_app.settings import PREFIX, Settings, load_settings
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.events_topic == "shop.events"
    assert settings.partitions == 8
    assert settings.data_dir == Path("nextact-data")


def test_every_setting_can_come_from_the_environment_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            monkeypatch.setenv(f"NEXTACT_{name.upper()}", str(field.default))
    assert load_settings() == Settings.model_construct()
    monkeypatch.setenv("NEXTACT_PARTITIONS", "12")
    assert load_settings().partitions == 12
    assert load_settings({"partitions": 3}).partitions == 3
    assert load_settings({"partitions": None}).partitions == 12


def test_settings_never_change() -> None:
    settings: Any = load_settings()
    with pytest.raises(ValidationError):
        settings.partitions = 9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partitions", 0),
        ("partitions", "many"),
        ("group", ""),
        ("stream_epoch", 2**32),
        ("hidden", 4),
        ("history_length", 0),
        ("history_length", 65536),
        ("batch_size", 0),
        ("recommendations", 21),
        ("rules_share", 1.5),
        ("session_timeout", 0),
        ("http_port", 65536),
        ("log_level", "loud"),
        ("replication", -1),
        ("dead_letters_consecutive", -1),
        ("dead_letters_ratio", 1.1),
        ("dead_letters_window", 0),
        ("history_days", -1),
        ("train_memory", 7),
    ],
)
def test_an_error_names_setting_variable_and_value(name: str, value: object) -> None:
    with pytest.raises(SettingsInvalid) as error:
        load_settings({name: value})
    assert f"{name} (NEXTACT_{name.upper()}) is {value!r}: " in str(error.value)
    assert isinstance(error.value, UsageError)


@pytest.mark.parametrize("name", ["registry", "history"])
@pytest.mark.parametrize(
    "address",
    [
        "reference::http://elsewhere/refs.json",
        "simplecache::s3://bucket/models",
        "filecache::s3://bucket",
        "zip://models::s3://bucket/all.zip",
        "reference://",
        "Reference://x",
        "simplecache://x",
        "data:://x",
        "models::v1",
    ],
)
def test_addresses_that_lead_on_to_others_are_refused(name: str, address: str) -> None:
    with pytest.raises(SettingsInvalid) as error:
        load_settings({name: address})
    assert f"{name} (NEXTACT_{name.upper()}) is {address!r}: give the address of the store itself" in str(error.value)


@pytest.mark.parametrize("address", ["s3://bucket/models", "memory://models", "/data/models", "models", "file:///m"])
def test_addresses_of_stores_are_taken(address: str) -> None:
    assert load_settings({"registry": address, "history": address}).registry == address


@pytest.mark.parametrize("name", ["sasl_password", "ssl_password"])
def test_an_error_shows_no_secret(name: str) -> None:
    with pytest.raises(SettingsInvalid) as error:
        load_settings({name: ["hunter2"]})
    assert f"{name} (NEXTACT_{name.upper()}) is '***': " in str(error.value)
    assert "hunter2" not in str(error.value)


def test_an_error_hides_the_secrets_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTACT_PARTITIONS", "s3://key:hunter2@bucket")  # in the wrong place
    monkeypatch.setenv("NEXTACT_REGISTRY", "s3://key:hunter2 3@bucket")
    with pytest.raises(SettingsInvalid) as error:
        load_settings()
    assert "NEXTACT_PARTITIONS) is 's3://***@bucket'" in str(error.value)
    assert "NEXTACT_REGISTRY) is 's3://***@bucket': write a blank in a user or password as %20" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_the_secrets_of_all_settings_are_known_and_never_in_what_python_shows() -> None:
    settings = load_settings(
        {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_username": "nextact",
            "sasl_password": "hunter2",
            "registry": "s3://key:hunter3@bucket",
            "history": "https://host/x?sig=hunter4-long&ssl=true",
        }
    )
    assert settings.secrets() == {"hunter2", "hunter3", "hunter4-long"}
    assert "hunter" not in f"{settings!r} {settings}"
    assert settings.variables()["NEXTACT_REGISTRY"] == "s3://key:hunter3@bucket"


def test_all_errors_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTACT_HIDDEN", "x")
    with pytest.raises(SettingsInvalid) as error:
        load_settings({"partitions": 0, "no_such_setting": 1})
    for name in ("NEXTACT_HIDDEN", "NEXTACT_PARTITIONS", "NEXTACT_NO_SUCH_SETTING"):
        assert name in str(error.value)


def test_every_setting_is_used() -> None:
    sources = ROOT.joinpath("stream_app").rglob("*.py")
    code = "\n".join(source.read_text() for source in sources if source.name != "settings.py")
    unused = [name for name in Settings.model_fields if f".{name}" not in code]
    assert unused == []


def test_other_processes_get_the_same_settings_secrets_included(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"security_protocol": "SASL_SSL", "sasl_username": "ada", "sasl_password": "s3cret", "partitions": 3}
    settings = load_settings(given)
    assert "s3cret" not in repr(settings)
    for name, value in settings.variables().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
    assert load_settings().sasl_password.get_secret_value() == "s3cret"
