"""Samples of all formats of events, with what each says, from tests/samples/formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stream_app.contract.decoded import DecodedBatch
from tests.paths import ROOT

FORMATS = {
    "nextact": ("nextact",),
    "segment": ("segment",),
    "ga4": ("ga4_requests", "ga4_rows"),
    "ubi": ("ubi",),
}


@dataclass(frozen=True, slots=True)
class FormatSample:
    """A record as a publisher sends it, and what it says: actions as pairs of type and item or words of a search."""

    format: str
    name: str
    key: bytes
    record: dict[str, Any]
    says: dict[str, list[Any]]

    @property
    def value(self) -> bytes:
        return json.dumps(self.record, ensure_ascii=False).encode()

    def __str__(self) -> str:
        return f"{self.format}: {self.name}"


def samples() -> list[FormatSample]:
    found = []
    for format, files in FORMATS.items():
        for file in files:
            for line in (ROOT / "tests/samples/formats" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines():
                said = json.loads(line)
                found.append(FormatSample(format, said["name"], said["key"].encode(), said["record"], said["says"]))
    return found


def said(batch: DecodedBatch) -> dict[str, list[Any]]:
    """Returns what a decoded batch says, as samples have it."""
    found: dict[str, list[Any]] = {
        "actions": [[event.type, event.query if event.type == "search" else event.item_id] for event in batch.events],
        "ignored": batch.ignored,
        "shown": [shown.items for shown in batch.shown],
        "identities": [[identity.user_id, identity.anonymous_id] for identity in batch.identities],
    }
    return {name: values for name, values in found.items() if values}
