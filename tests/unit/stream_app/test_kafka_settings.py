"""The settings of a connection fit each other, and a broker of our own needs none of them."""

from __future__ import annotations

import os

import pytest

from stream_app.errors import SettingsInvalid
from stream_app.settings import PREFIX, load_settings

TOKENS = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sasl_username": "ada"}, "NEXTACT_SASL_USERNAME is given, but NEXTACT_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"security_protocol": "SSL", "sasl_password": "x"}, "NEXTACT_SASL_PASSWORD is given, but"),
        ({"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": "ca.pem"}, "NEXTACT_SSL_CAFILE is given, but"),
        (
            {"security_protocol": "SSL", "ssl_keyfile": "key"},
            "SSL_KEYFILE is given without NEXTACT_SSL_CERTFILE",
        ),
        ({"security_protocol": "SASL_SSL"}, "PLAIN needs NEXTACT_SASL_USERNAME and NEXTACT_SASL_PASSWORD"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", "sasl_username": "ada"},
            "SCRAM-SHA-256 needs NEXTACT_SASL_PASSWORD",
        ),
        (TOKENS, "OAUTHBEARER needs NEXTACT_SASL_OAUTH_TOKEN_URL and .*SECRET, or NEXTACT_SASL_OAUTH_PROVIDER"),
        (TOKENS | {"sasl_username": "ada", "sasl_oauth_provider": "a:b"}, "SASL_USERNAME has no meaning beside"),
        (
            TOKENS | {"sasl_oauth_client_id": "a", "sasl_oauth_provider": "a:b"},
            "SASL_OAUTH_CLIENT_ID has no meaning beside NEXTACT_SASL_OAUTH_PROVIDER",
        ),
        (
            {"security_protocol": "SASL_SSL", "sasl_username": "ada", "sasl_password": "x", "sasl_oauth_scope": "a"},
            "SASL_OAUTH_SCOPE has no meaning beside NEXTACT_SASL_MECHANISM PLAIN",
        ),
        ({"security_protocol": "TLS"}, "NEXTACT_SECURITY_PROTOCOL"),
        ({"sasl_mechanism": "GSSAPI"}, "NEXTACT_SASL_MECHANISM"),
    ],
)
def test_settings_of_a_connection_that_do_not_fit_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message) as caught:
        load_settings(given)
    assert "\n" not in str(caught.value)


def test_a_broker_of_our_own_asks_for_no_security() -> None:
    given = {"security_protocol": "SASL_SSL", "sasl_username": "ada", "sasl_password": "x", "ssl_cafile": "ca.pem"}
    assert load_settings(given).unsecured(partitions=3) == load_settings({"partitions": 3})
