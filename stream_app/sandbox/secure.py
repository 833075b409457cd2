"""A secured broker: whom it knows, how it listens, and the files that its users' settings are sourced from.

Every connection is TLS. Clients show a password (SCRAM) on their listener. Brokers and controllers show each other the
certificate of `broker` on listeners of their own, as the administrator who makes the users does, before there are any.
The principals are `User:NAME` on all of them. Only `admin`, and `broker` for itself, may do anything; all others have
the rights that they are given (StandardAuthorizer), and these are none at first.
"""

from __future__ import annotations

import datetime
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from stream_app.contract.access import ROLES
from stream_app.errors import UsageError
from stream_app.sandbox.certificates import AUTHORITY, make_certificates, write_secret
from stream_app.sandbox.layout import Node, escape
from stream_app.sandbox.ports import HOST
from stream_app.settings import PREFIX

ADMIN: Final = "admin"
BROKER: Final = "broker"
USERS: Final = (ADMIN, *ROLES)
OLDEST: Final = (3, 5)
"""The first release of Kafka that keeps users of SCRAM without ZooKeeper (KIP-900)."""


@dataclass(frozen=True, slots=True)
class SecureFolder:
    """The certificates of a secured broker, and a file of settings for each of its users."""

    path: Path

    @property
    def authority(self) -> Path:
        """The file of the certificate that clients check the broker's with."""
        return self.path / AUTHORITY

    def prepare(self, now: datetime.datetime) -> None:
        """Makes the folder and the certificates that are missing; raises RuntimeMissing without `cryptography`."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.authority).exists():
            make_certificates(self.path, [BROKER, *USERS], now)

    def passwords(self) -> dict[str, str]:
        """Returns every user's password: the one in the user's file, or a new one."""
        return {user: self._known_password(user) or secrets.token_urlsafe(24) for user in USERS}

    def write_settings(self, brokers: str, passwords: Mapping[str, str]) -> None:
        """Writes USER.env for every user, readable by the owner only: lines that a shell can source."""
        for user, password in passwords.items():
            fields = self._settings(user, brokers, password)
            lines = [f"{PREFIX}{name.upper()}={shlex.quote(value)}\n" for name, value in fields.items()]
            write_secret(self.env_path(user), "".join(lines))

    def env_path(self, user: str) -> Path:
        """Returns the path of a user's file of settings."""
        return self.path / f"{user}.env"

    def settings_for(self, user: str) -> dict[str, Any]:
        """Returns the fields of `Settings` with which a user connects; raises UsageError for one without a file."""
        fields = read_env(self.env_path(user))
        return {**fields, "sasl_password": SecretStr(fields["sasl_password"])}

    def certificate_settings(self, user: str, address: str) -> dict[str, Any]:
        """Returns the fields of `Settings` with which a user connects by certificate, at a listener for that."""
        return {
            "brokers": address,
            "security_protocol": "SSL",
            "ssl_cafile": str(self.authority),
            "ssl_certfile": str(self.path / f"{user}.pem"),
        }

    def server_properties(self, node: Node) -> dict[str, object]:
        """Returns what Kafka's configuration of a node has other than an open one's."""
        clients, internal = f"CLIENTS://{node.address}", f"INTERNAL://{node.internal_address}"
        certified = {f"listener.name.{name}.ssl.client.auth": "required" for name in ("internal", "controller")}
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        scram = {f"listener.name.clients.scram-sha-{bits}.sasl.jaas.config": login for bits in (256, 512)}
        return {
            "listeners": f"{clients},{internal},CONTROLLER://{HOST}:{node.controller_port}",
            "advertised.listeners": f"{clients},{internal}",
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "INTERNAL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": escape(self.path / f"{BROKER}.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": escape(self.authority),
            "ssl.principal.mapping.rules": "RULE:^CN=([a-z]+)$/$1/",
            **certified,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256",
            **scram,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN};User:{BROKER}",
        }

    def _settings(self, user: str, brokers: str, password: str) -> dict[str, str]:
        return {
            "brokers": brokers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": password,
            "ssl_cafile": str(self.authority),
        }

    def _known_password(self, user: str) -> str | None:
        return read_env(self.env_path(user)).get("sasl_password") if self.env_path(user).exists() else None


def read_env(path: Path) -> dict[str, str]:
    """Returns the settings in a file of `NEXTACT_NAME=value` lines, by the names of `Settings`.

    Raises UsageError for a file that is missing or damaged.
    """
    try:
        lines = [line.partition("=") for line in path.read_text().splitlines()]
        return {name.removeprefix(PREFIX).lower(): "".join(shlex.split(value)) for name, _, value in lines}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); a start of the broker without this file makes it anew"
        ) from error
