"""What a real broker refuses is named: who is not known, what they may not do, and how its ports speak."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stream_app.errors import AuthenticationFailed, TlsRefused, UsageError, WrongProtocol
from stream_app.kafka.clients import new_admin
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings

pytestmark = pytest.mark.broker


def refusal(settings: Settings) -> UsageError:
    async def run() -> UsageError:
        with pytest.raises(UsageError) as caught:
            async with new_admin(settings, "operator", request_timeout_ms=5000):
                pass
        return caught.value

    error = asyncio.run(run())
    assert "\n" not in str(error)
    return error


def test_a_listener_that_speaks_otherwise_is_named(kafka: Broker, secured: Broker, tmp_path: Path) -> None:
    ours, theirs = secured.secure.settings_for("worker"), secured.secure.certificate_settings("worker", "")
    login = {name: ours[name] for name in ("sasl_username", "sasl_password", "sasl_mechanism")}
    internal = secured.nodes[0].internal_address
    cases: list[tuple[dict[str, object], type[UsageError], str]] = [
        (ours | {"sasl_username": "nobody"}, AuthenticationFailed, "by SCRAM-SHA-512 as 'nobody': "),
        (ours | {"sasl_mechanism": "PLAIN"}, AuthenticationFailed, "not take PLAIN but SCRAM-SHA-256, SCRAM-SHA-512"),
        (theirs | {"brokers": ours["brokers"]}, WrongProtocol, "asks for SASL (SCRAM-SHA-256, SCRAM-SHA-512): set"),
        ({"brokers": ours["brokers"]}, WrongProtocol, "speaks TLS, and this client does not"),
        (ours | theirs | {"brokers": internal, "security_protocol": "SASL_SSL"}, WrongProtocol, "does not use SASL"),
        ({**ours, "ssl_cafile": ""}, TlsRefused, "not from an authority that is trusted (the system's"),
    ]
    if not kafka.secured:
        open_ = {"brokers": kafka.bootstrap_servers}
        cases += [
            (ours | open_, WrongProtocol, "does not speak TLS: set NEXTACT_SECURITY_PROTOCOL=SASL_PLAINTEXT"),
            (open_ | login | {"security_protocol": "SASL_PLAINTEXT"}, WrongProtocol, "does not use SASL: set"),
        ]
    for given, kind, message in cases:
        error = refusal(Settings(**given))  # type: ignore[arg-type]
        assert type(error) is kind, error
        assert message in str(error)
