"""What is ours with other settings than the defaults, to be measured beside the defaults in one run: `--with tls`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Variant:
    """Changes to the default settings, of the worker and of the clients beside it."""

    key: str  # in JSON and on the command line
    name: str  # in tables
    changes: Mapping[str, Any] = field(default_factory=dict)
    secured: bool = False  # on a broker that takes TLS and passwords only; all connect as its administrator
    profiled: bool = False  # with a version that has all of a profile; `throughput` has a row of its own for that


CODECS: Final = ("lz4", "zstd", "snappy", "gzip")  # of what workers and publishers write; the default is none
VARIANTS: Final = {
    variant.key: variant
    for variant in (
        Variant("tls", "TLS", secured=True),
        Variant("profile", "profile", profiled=True),
        Variant("exactly-once", "exactly-once", {"delivery": "exactly-once"}),
        *(Variant(codec, codec, {"compression": codec}) for codec in CODECS),
    )
}
