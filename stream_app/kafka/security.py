"""How a client proves who it is and whom it trusts: aiokafka's security options, made from the settings."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from stream_app.errors import SettingsInvalid
from stream_app.kafka.oauth import token_provider
from stream_app.settings import Settings


def security_options(settings: Settings) -> dict[str, Any]:
    """Returns aiokafka's options. Raises `SettingsInvalid` for a file that cannot be read or is not what it must be."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.uses_tls:
        options["ssl_context"] = ssl_context(settings)
    if settings.uses_sasl:
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = token_provider(settings)
        else:
            options["sasl_plain_username"] = settings.sasl_username
            options["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return options


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Makes a context that trusts the given authorities, or those of the system, and shows the client's certificate.

    Raises `SettingsInvalid`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.ssl_check_hostname
    if settings.ssl_cafile:
        _trust(context, settings.ssl_cafile)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.ssl_certfile:
        _show(context, settings)
    return context


def _trust(context: ssl.SSLContext, cafile: str) -> None:
    _readable("ssl_cafile", cafile)
    try:
        context.load_verify_locations(cafile)
    except ssl.SSLError as error:
        raise _invalid("ssl_cafile", cafile, "has no certificates of authorities in PEM format") from error
    if not context.cert_store_stats()["x509"]:
        raise _invalid("ssl_cafile", cafile, "has no certificates of authorities in PEM format")


def _show(context: ssl.SSLContext, settings: Settings) -> None:
    """Loads the client's certificate and key; the key may lie in the certificate's file."""
    certfile, keyfile = settings.ssl_certfile, settings.ssl_keyfile or None
    certificate = _readable("ssl_certfile", certfile)
    key = certificate if keyfile is None else _readable("ssl_keyfile", keyfile)
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        raise _invalid("ssl_certfile", certfile, "has no certificate in PEM format")
    if b"PRIVATE KEY-----" not in key:
        if keyfile is None:
            raise _invalid("ssl_certfile", certfile, "has no private key: give it with NEXTACT_SSL_KEYFILE")
        raise _invalid("ssl_keyfile", keyfile, "has no private key in PEM format")
    password = settings.ssl_password.get_secret_value()
    try:
        # A function, because without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certfile, keyfile, password=lambda: password)
    except ssl.SSLError as error:
        name, path = ("ssl_keyfile", keyfile) if keyfile else ("ssl_certfile", certfile)
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _invalid(name, path, f"has a key that is not that of the certificate in {certfile}") from error
        if b"ENCRYPTED" in key:
            why = "is not the one it was encrypted with" if password else "is missing"
            raise _invalid(name, path, f"has a key with a password, and NEXTACT_SSL_PASSWORD {why}") from error
        raise _invalid(name, path, f"cannot be used: {error.reason}") from error


def _readable(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _invalid(name, path, f"cannot be read: {error.strerror}") from error


def _invalid(name: str, path: str, why: str) -> SettingsInvalid:
    return SettingsInvalid(f"the file {path} of setting {name} (NEXTACT_{name.upper()}) {why}")
