"""When the items of a version were last seen: a file that the trainer reads, and no worker.

It is not in the manifest, so that workers of before read the version; the configuration, which is, has its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import VersionRefused
from model.versions.manifest import LAST_SEEN, read

FACT: Final = "last_seen_sha256"  # its name among the facts of a version
_TIME: Final = np.dtype("<i8")  # ms


def encode_last_seen(times: NDArray[np.int64] | None) -> tuple[dict[str, bytes], dict[str, str]]:
    """Returns the file, for the times of all items in their order, and the fact that goes with it; without times,
    nothing."""
    if times is None:
        return {}, {}
    content = times.astype(_TIME).tobytes()
    return {LAST_SEEN: content}, {FACT: sha256(content).hexdigest()}


def read_last_seen(path: str, facts: Mapping[str, object], items: int) -> NDArray[np.int64] | None:
    """Reads the times of the version in the directory `path`; returns None where it has none, or they were changed.

    Raises `VersionRefused` (unreadable).
    """
    if FACT not in facts:
        return None
    try:
        content = read(path, LAST_SEEN, items * _TIME.itemsize)
    except VersionRefused as refusal:
        if refusal.reason == "unreadable":
            raise
        return None
    if len(content) != items * _TIME.itemsize or sha256(content).hexdigest() != facts[FACT]:
        return None
    return np.frombuffer(content, _TIME).astype(np.int64)
