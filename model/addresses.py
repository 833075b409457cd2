"""Checks addresses of stores, and hides the secrets in what is printed or logged: users, passwords, signatures.

An address of a storage or a broker may carry them as `user:password@` or in its query (`?sig=…`, `;SharedAccessKey=…`).
Which parts of a query are secret differs from store to store, so all its values are hidden. Where a text can be read
in two ways, more is hidden than need be.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

# File systems of fsspec that read from another one, or from the address itself.
_LEADING_ON: Final = ("reference", "simplecache", "filecache", "blockcache", "cached", "dir", "data")

HIDDEN: Final = "***"  # stands for a secret

_MARKS: Final = re.compile(r"[@?;#]")  # no secret without one of them
_USER: Final = re.compile(
    r"(?<=://)\S*:\S*@"
)  # with a password, which may have any characters but blanks: to the last @
_TOKEN: Final = re.compile(  # a user alone; in addresses of Azure a container stands there
    r"(?<=://)(?<!abfs://)(?<!abfss://)(?<!wasb://)(?<!wasbs://)[^\s/@]+@"
)
_NO_SCHEME: Final = re.compile(r"(?<![^\s/:@'\"(])[^\s/:@'\"(]+:(?!//|:)\S+@")  # user:password@host
_QUERY: Final = re.compile(r"([?&;#][^\s?&;=#'\"]+=)([^\s&;'\"#]+)")
_PIECE: Final = 4  # characters from which on a part of a password is taken for a secret
_LONG: Final = 8  # characters from which on a value in a query is taken for a secret, and not for a word such as `true`


def check_store(address: str) -> None:
    """Raises ValueError for an address that leads on to another, as what is read through it is not where it seems to
    be, and for one with a blank in its user, which could not be told from the text around it, to be hidden."""
    protocol = address.partition("://")[0].lower() if "://" in address else ""
    if "::" in address or protocol in _LEADING_ON:
        raise ValueError("give the address of the store itself, not a chain (`::`), a cache or a file of references")
    if re.search(r"://.*\s.*@", address):
        raise ValueError("write a blank in a user or password as %20")


def shown(address: str) -> str:
    """Returns an address as it may be printed; a plain path and `host:port` stay as they are."""
    return without_secrets(re.sub(r"\s", "_", address) if _MARKS.search(address) else address)


def without_secrets(text: str) -> str:
    """Returns a text with the secrets hidden in all addresses in it that have no blanks."""
    if not _MARKS.search(text):
        return text
    for user in (_USER, _TOKEN, _NO_SCHEME):
        text = user.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", text)


def secrets_in(address: str) -> frozenset[str]:
    """Returns the secrets of an address, as they are written there and decoded: to be found in texts of others."""
    user, at, _ = address.partition("://")[2].rpartition("@") if "://" in address else address.rpartition("@")
    secrets = {value for _, value in _QUERY.findall(address) if len(value) >= _LONG}
    if at and ":" in user:
        password = user.partition(":")[2]
        pieces = re.split(r"[/?#@:\[\]]", password)  # one of them is what a driver quotes that takes it for a port
        secrets |= {password, *(piece for piece in pieces if len(piece) >= _PIECE)}
    elif at and address.startswith(("http://", "https://")) and "/" not in user:
        secrets.add(user)
    return frozenset(secrets | {unquote(secret) for secret in secrets} - {""})


def why(error: Exception, address: str) -> str:
    """Returns the text of somebody else's error about an address, without the secrets of that address."""
    text = repr(error)
    for secret in sorted(secrets_in(address), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return without_secrets(text)
