"""What the page was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 9690


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Where the workers are, and where the page is to be."""

    workers: tuple[str, ...]  # addresses of APIs; the first one that answers is asked for shoppers
    token: str | None
    host: str
    port: int | None  # None: `DEFAULT_PORT`, or a free one where that is taken; 0: a free one
    grafana: str | None
    simulated: bool  # say so beside figures
    headline: Path | None = None  # file with the headline of a demo


def is_address(url: str) -> bool:
    """Tells whether a text is the address of an API."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
