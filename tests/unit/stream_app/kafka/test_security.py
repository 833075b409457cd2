"""Whom a client trusts and what it shows, and a line for each file that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from stream_app.errors import SettingsInvalid
from stream_app.kafka.security import security_options, ssl_context
from stream_app.settings import Settings, load_settings
from tests.unit.builders.certificates import Authority


def tls(**files: object) -> Settings:
    return load_settings({"security_protocol": "SSL"} | {name: str(value) for name, value in files.items()})


def test_plaintext_needs_nothing() -> None:
    assert security_options(Settings()) == {"security_protocol": "PLAINTEXT"}


def test_the_given_authority_is_trusted_and_no_other(tmp_path: Path) -> None:
    context = ssl_context(tls(ssl_cafile=Authority(tmp_path).cafile))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert [entry["subject"] for entry in context.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert ssl_context(tls(ssl_check_hostname=False)).check_hostname is False
    assert ssl_context(tls(ssl_check_hostname=False)).verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_is_taken_with_its_key_in_either_place(tmp_path: Path) -> None:
    certfile, keyfile = Authority(tmp_path).issue("ada")
    ssl_context(tls(ssl_certfile=certfile, ssl_keyfile=keyfile))
    both = tmp_path / "both.pem"
    both.write_bytes(certfile.read_bytes() + keyfile.read_bytes())
    ssl_context(tls(ssl_certfile=both))


def test_a_key_with_a_password_needs_that_password(tmp_path: Path) -> None:
    certfile, keyfile = Authority(tmp_path).issue("ada", password="open")
    ssl_context(tls(ssl_certfile=certfile, ssl_keyfile=keyfile, ssl_password="open"))
    with pytest.raises(SettingsInvalid, match=f"{keyfile}.*NEXTACT_SSL_PASSWORD is missing"):
        ssl_context(tls(ssl_certfile=certfile, ssl_keyfile=keyfile))
    with pytest.raises(SettingsInvalid, match="NEXTACT_SSL_PASSWORD is not the one") as caught:
        ssl_context(tls(ssl_certfile=certfile, ssl_keyfile=keyfile, ssl_password="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    authority, nothing = Authority(tmp_path), tmp_path / "nothing"
    certfile, keyfile = authority.issue("ada")
    _, other = authority.issue("bob")
    text = tmp_path / "text"
    text.write_text("not a certificate")
    for settings, message in [
        (tls(ssl_cafile=nothing), r"NEXTACT_SSL_CAFILE\) cannot be read: No such file"),
        (tls(ssl_cafile=tmp_path), r"NEXTACT_SSL_CAFILE\) cannot be read: Is a directory"),
        (tls(ssl_cafile=text), r"NEXTACT_SSL_CAFILE\) has no certificates of authorities"),
        (tls(ssl_certfile=nothing, ssl_keyfile=keyfile), r"NEXTACT_SSL_CERTFILE\) cannot be read"),
        (tls(ssl_certfile=text, ssl_keyfile=keyfile), r"NEXTACT_SSL_CERTFILE\) has no certificate in PEM"),
        (tls(ssl_certfile=certfile), r"NEXTACT_SSL_CERTFILE\) has no private key: give it with NEXTACT_SSL_KEYFILE"),
        (tls(ssl_certfile=certfile, ssl_keyfile=nothing), r"NEXTACT_SSL_KEYFILE\) cannot be read"),
        (tls(ssl_certfile=certfile, ssl_keyfile=text), r"NEXTACT_SSL_KEYFILE\) has no private key in PEM"),
        (tls(ssl_certfile=certfile, ssl_keyfile=other), r"NEXTACT_SSL_KEYFILE\) has a key that is not that of"),
    ]:
        with pytest.raises(SettingsInvalid, match=message) as caught:
            ssl_context(settings)
        assert "\n" not in str(caught.value)
