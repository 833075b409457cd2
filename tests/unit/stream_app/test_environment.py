"""Values from files, and variables that mean nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stream_app.environment import FILE, UnknownVariable, unknown_variables, variable_of
from stream_app.errors import SettingsInvalid
from stream_app.settings import PREFIX, Settings, load_settings

FIELDS = Settings.model_fields.keys()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def test_a_setting_comes_from_a_file_without_the_line_break_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, expected in [(b"mine", "mine"), (b"mine\n", "mine"), (b"mine\r\n", "mine"), ("é\n\n".encode(), "é\n")]:
        (tmp_path / "group").write_bytes(content)
        monkeypatch.setenv("NEXTACT_GROUP_FILE", str(tmp_path / "group"))
        assert load_settings().group == expected
    assert load_settings({"group": "given"}).group == "given"


def test_every_setting_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings()
    for name, value in defaults.variables().items():
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(name + FILE, str(tmp_path / name))
    assert load_settings() == defaults
    assert not {variable_of(field) + FILE for field in FIELDS} & {variable_of(field) for field in FIELDS}


def test_what_a_file_holds_is_checked_like_a_variable_and_a_secret_in_it_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "partitions").write_text("many")
    monkeypatch.setenv("NEXTACT_PARTITIONS_FILE", str(tmp_path / "partitions"))
    with pytest.raises(SettingsInvalid, match=r"partitions \(NEXTACT_PARTITIONS\) is 'many'"):
        load_settings()


def test_a_value_and_a_file_are_not_both_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2")
    monkeypatch.setenv("NEXTACT_SASL_PASSWORD", "hunter1")
    monkeypatch.setenv("NEXTACT_SASL_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(SettingsInvalid) as error:
        load_settings()
    assert str(error.value) == ("both NEXTACT_SASL_PASSWORD and NEXTACT_SASL_PASSWORD_FILE are given: give one of them")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"hunter2\xff", "is not text in UTF-8"),
        (b"hunter2" * 10_000, "has more than 65,536 bytes: is it the right one?"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("NEXTACT_SASL_PASSWORD_FILE", str(path))
    with pytest.raises(SettingsInvalid) as error:
        load_settings()
    assert str(error.value) == f"the file {str(path)!r} of NEXTACT_SASL_PASSWORD_FILE {message}"


def test_paths_that_are_no_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("", str(tmp_path)):
        monkeypatch.setenv("NEXTACT_GROUP_FILE", path)
        with pytest.raises(SettingsInvalid, match=re.escape(repr(path))):
            load_settings()


def test_an_unknown_variable_is_named_with_the_nearest_one() -> None:
    environment = ["NEXTACT_BROKER", "nextact_regisrty", "NEXTACT_SASL_PASWORD_FILE", "NEXTACT_QQQ", "OTHER"]
    assert unknown_variables([*environment, "NEXTACT_BROKERS", "nextact_group", "NEXTACT_GROUP_FILE"], FIELDS) == [
        UnknownVariable("NEXTACT_BROKER", "NEXTACT_BROKERS"),
        UnknownVariable("NEXTACT_QQQ", None),
        UnknownVariable("NEXTACT_SASL_PASWORD_FILE", "NEXTACT_SASL_PASSWORD_FILE"),
        UnknownVariable("nextact_regisrty", "NEXTACT_REGISTRY"),
    ]
    assert str(UnknownVariable("NEXTACT_BROKER", "NEXTACT_BROKERS")) == (
        "NEXTACT_BROKER is not a setting: did you mean NEXTACT_BROKERS?"
    )
    assert "doctor" in str(UnknownVariable("NEXTACT_QQQ", None))


def test_what_kubernetes_sets_for_a_service_is_not_taken_for_a_misspelt_setting() -> None:
    of_service = [
        "_SERVICE_HOST",
        "_SERVICE_PORT",
        "_SERVICE_PORT_HTTP",
        "_PORT",
        "_PORT_9600_TCP",
        "_PORT_9600_TCP_ADDR",
    ]
    assert unknown_variables([f"NEXTACT_WORKER{end}" for end in of_service], FIELDS) == []
    assert [each.name for each in unknown_variables(["NEXTACT_WORKER_PORT"], FIELDS)] == ["NEXTACT_WORKER_PORT"]
