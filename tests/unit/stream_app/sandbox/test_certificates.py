"""The certificates of a secured broker: TLS by them works, and nothing else is trusted."""

from __future__ import annotations

import datetime
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import RuntimeMissing
from stream_app.sandbox.certificates import AUTHORITY, make_certificates, write_secret

NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secure")
    make_certificates(folder, ["broker", "worker"], NOW)
    return folder


def shaken_hands(server_of: Path, client_of: Path, host: str) -> ssl.SSLObject:
    """The server's end of a connection in which both ends have shown certificates."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(server_of / "broker.pem")
    server.load_verify_locations(server_of / AUTHORITY)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(client_of / AUTHORITY))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    client.load_cert_chain(client_of / "worker.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname=host),
        server.wrap_bio(up, down, server_side=True),
    )
    left = list(ends)
    for end in turns(left):
        try:
            end.do_handshake()
            left.remove(end)
        except ssl.SSLWantReadError:
            continue
    return ends[1]


def turns(left: list[ssl.SSLObject]) -> Iterator[ssl.SSLObject]:
    while left:
        yield from list(left)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_both_ends_trust_each_other_and_the_client_is_named(folder: Path, host: str) -> None:
    server = shaken_hands(folder, folder, host)
    certificate = server.getpeercert()
    assert certificate is not None
    assert certificate["subject"] == ((("commonName", "worker"),),)


def test_another_host_and_another_authority_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="example"):
        shaken_hands(folder, folder, "broker.example.org")
    make_certificates(tmp_path, ["broker", "worker"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(folder, tmp_path, "localhost")


def test_private_keys_are_their_owners_and_the_authoritys_is_nowhere(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {AUTHORITY, "broker.pem", "worker.pem"}
    for name in ("broker.pem", "worker.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in (folder / AUTHORITY).read_text()


def test_a_secret_replaces_what_anybody_could_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(RuntimeMissing, match=r"cryptography makes: pip install 'nextact\[broker\]'"):
        make_certificates(tmp_path, ["broker"], NOW)
    assert not list(tmp_path.iterdir())
