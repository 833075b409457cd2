"""Secrets in addresses are hidden, whatever else the address is; what carries none stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.addresses import secrets_in, shown, why, without_secrets

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://key:secret@bucket/models", "s3://***@bucket/models"),
        ("ftp://u:p/w0rd@host/x", "ftp://***@host/x"),
        ("ftp://u:p@ss@host/x", "ftp://***@host/x"),
        ("ftp://u:p?a=b@host/x", "ftp://***@host/x"),
        ("weird+thing://u:p@host", "weird+thing://***@host"),
        ("sftp://u:my pass@host/x", "sftp://***@host/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://***@bucket/x"),
        ("s3:/key:secret@bucket", "***@bucket"),  # a mistyped scheme
        ("/home/me/s3:/key:secret@bucket", "/home/me/***@bucket"),
        ("user:secret@host:9092", "***@host:9092"),
        ("a:9092,user:secret@b:9092", "***@b:9092"),
        ("https://h/c?sv=2024&sig=abc%2Fdef", "https://h/c?sv=***&sig=***"),
        ("https://h/c?X-Amz-Credential=AKIA/x&X-Amz-Signature=ff#t=1", "https://h/c?X-Amz-Credential=***&X-Amz-Signature=***#t=***"),
        ("Endpoint=sb://ns/;SharedAccessKeyName=root;SharedAccessKey=abc=", "Endpoint=sb://ns/;SharedAccessKeyName=***;SharedAccessKey=***"),
    ],
)  # fmt: skip
def test_secrets_are_hidden(address: str, expected: str) -> None:
    assert shown(address) == expected
    assert shown(expected) == expected


@pytest.mark.parametrize(
    "address",
    [
        "a:9092,b:9092",
        "/data/models",
        "/data/my models/v1",
        "user@example.com",
        "s3://bucket/models",
        "https://host:443/x",
        "memory://x",
        "abfss://models@account.dfs.core.windows.net/x",
        "nextact-data/models",
    ],
)
def test_what_has_no_secret_stays(address: str) -> None:
    assert shown(address) == address
    assert secrets_in(address) == frozenset()


@given(
    st.sampled_from(["s3", "ftp", "https", "x+y"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_a_password_of_any_characters_is_hidden(scheme: str, before: str, after: str) -> None:
    address = f"{scheme}://user:{before}{SECRET}{after}@host/path"
    assert SECRET not in shown(address)
    assert SECRET not in without_secrets(f"cannot read '{address}/x': gone")
    assert any(SECRET in secret for secret in secrets_in(address))


def test_texts_that_name_addresses_lose_only_their_secrets() -> None:
    text = "'s3://k:s3cr3t@b/v1' cannot be read: Error(\"GET https://h/x?sig=abcdefgh&n=1\", 'me@here'). Is it there?"
    assert without_secrets(text) == (
        "'s3://***@b/v1' cannot be read: Error(\"GET https://h/x?sig=***&n=***\", 'me@here'). Is it there?"
    )


def test_the_secrets_of_an_address_are_known_as_written_and_decoded() -> None:
    assert secrets_in("s3://key:p%2Fw@bucket?version=3&sig=abcd%2Fefgh") == {
        "p%2Fw",
        "p/w",
        "abcd%2Fefgh",
        "abcd/efgh",
    }
    assert secrets_in("https://ghp_token@host/x") == {"ghp_token"}
    assert secrets_in("a:1,u:pw@b:1") == {"1,u:pw"}


def test_an_error_of_a_driver_is_told_without_the_secrets_that_it_quotes() -> None:
    address = "ftp://user:hunter2/x@host/models"
    error = ValueError("Port could not be cast to integer value as 'hunter2' in ftp://user:hunter2/x@host")
    assert why(error, address) == ("ValueError(\"Port could not be cast to integer value as '***' in ftp://***@host\")")
