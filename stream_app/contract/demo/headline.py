"""What a demo says on the page: how often each of those who are compared was right. It is kept in a file of JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec


class TellerShare(msgspec.Struct, frozen=True):
    """How often one of them was right, and between which shares that lies with 95 % certainty, over users."""

    name: str
    share: float
    low: float
    high: float


class Headline(msgspec.Struct, frozen=True):
    """Of how many next items, and whether they were found among 20, by each."""

    targets: int
    simulated: bool
    tellers: list[TellerShare]
    note: str = ""  # what is to be known with it


_DECODER = msgspec.json.Decoder(Headline)


def write_headline(path: Path, headline: Headline) -> None:
    """Writes a headline in the place of the one before; a reader sees one or the other."""
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(headline))
    beside.replace(path)


def read_headline(path: Path) -> Headline | None:
    """Reads a headline; None where there is none."""
    try:
        return _DECODER.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
