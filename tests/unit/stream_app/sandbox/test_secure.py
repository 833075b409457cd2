"""The files and the configuration of a secured broker; `tests/integration/test_secure.py` starts one."""

from __future__ import annotations

import datetime
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from stream_app.contract.access import ROLES
from stream_app.errors import UsageError
from stream_app.sandbox.layout import Node
from stream_app.sandbox.secure import USERS, SecureFolder, read_env
from stream_app.settings import Settings

NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
NODE = Node(1, 9092, 9093, 9094)


@pytest.fixture
def folder(tmp_path: Path) -> SecureFolder:
    return SecureFolder(tmp_path / "a folder")


def test_every_user_has_a_file_that_a_shell_and_the_settings_read(folder: SecureFolder) -> None:
    folder.prepare(NOW)
    passwords = folder.passwords()
    assert set(passwords) == {"admin", *ROLES}
    assert len(set(passwords.values())) == len(passwords)
    folder.write_settings("127.0.0.1:9092", passwords)
    for user in USERS:
        path = folder.env_path(user)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        settings = Settings(**folder.settings_for(user))
        assert (settings.brokers, settings.security_protocol) == ("127.0.0.1:9092", "SASL_SSL")
        assert (settings.sasl_mechanism, settings.sasl_username) == ("SCRAM-SHA-512", user)
        assert settings.sasl_password.get_secret_value() == passwords[user]
        assert Path(settings.ssl_cafile).is_file()
        script = f"set -a; . {shlex.quote(str(path))}; env | grep ^NEXTACT_SSL_CAFILE="
        sourced = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert sourced.stdout == f"NEXTACT_SSL_CAFILE={settings.ssl_cafile}\n"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_passwords_and_certificates_survive_a_restart(folder: SecureFolder) -> None:
    folder.prepare(NOW)
    passwords = folder.passwords()
    folder.write_settings("127.0.0.1:9092", passwords)
    certificate = (folder.path / "broker.pem").read_bytes()
    folder.prepare(NOW)
    assert folder.passwords() == passwords
    assert (folder.path / "broker.pem").read_bytes() == certificate


def test_a_users_file_that_is_missing_is_named(folder: SecureFolder) -> None:
    with pytest.raises(UsageError, match=r"worker\.env cannot be read .*a start of the broker"):
        folder.settings_for("worker")


def test_quoted_values_are_read_as_a_shell_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("NEXTACT_SSL_CAFILE='/a b/ca.pem'\nNEXTACT_BROKERS=h:1\n")
    assert read_env(path) == {"ssl_cafile": "/a b/ca.pem", "brokers": "h:1"}


def test_only_admin_and_the_broker_itself_may_do_anything(folder: SecureFolder) -> None:
    properties = folder.server_properties(NODE)
    assert properties["super.users"] == "User:admin;User:broker"
    assert properties["allow.everyone.if.no.acl.found"] == "false"
    assert str(properties["authorizer.class.name"]).endswith(".StandardAuthorizer")


def test_no_listener_lets_anybody_in_without_a_name(folder: SecureFolder) -> None:
    properties = folder.server_properties(NODE)
    assert properties["listeners"] == "CLIENTS://127.0.0.1:9092,INTERNAL://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093"
    assert properties["listener.security.protocol.map"] == "CLIENTS:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL"
    assert properties["listener.name.internal.ssl.client.auth"] == "required"
    assert properties["listener.name.controller.ssl.client.auth"] == "required"
