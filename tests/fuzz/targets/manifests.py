"""Manifests: any bytes in a version's folder are its manifest or a refusal in one line, and no more is read than that.

The files beside it have the bytes of the input, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import fsspec
import msgspec

from model.errors import VersionRefused
from model.versions.manifest import (
    FILES,
    FORMAT,
    LARGEST_MANIFEST,
    LARGEST_VERSION,
    MANIFEST,
    FileEntry,
    Manifest,
    read_manifest,
    read_verified,
)
from model.versions.version_name import is_version_name

_PATH: Final = "memory://fuzz/v1"
_CONTENT: Final = b"content"


def check(data: bytes) -> None:
    """Reads a folder that holds these bytes as a manifest."""
    files = fsspec.filesystem("memory")
    files.pipe({f"{_PATH}/{MANIFEST}": data, **{f"{_PATH}/{name}": _CONTENT for name in FILES}})
    try:
        manifest, digest = read_manifest(_PATH)
    except VersionRefused as refusal:
        _check_refusal(refusal)
        return
    assert len(data) <= LARGEST_MANIFEST
    assert digest == sha256(data).hexdigest()
    assert is_version_name(manifest.name)
    assert set(manifest.files) == set(FILES)
    assert sum(entry.size for entry in manifest.files.values()) <= LARGEST_VERSION
    for name in FILES:
        try:
            content = read_verified(_PATH, name, manifest)
        except VersionRefused as refusal:
            _check_refusal(refusal)
        else:
            assert content == _CONTENT
            assert manifest.files[name] == _ENTRY


def _check_refusal(refusal: VersionRefused) -> None:
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 1000


_ENTRY: Final = FileEntry(sha256(_CONTENT).hexdigest(), len(_CONTENT))


def seeds() -> list[bytes]:
    """Returns manifests, and what is refused of them."""
    manifest = Manifest(FORMAT, "v1", "2026-01-02T03:04:05Z", dict.fromkeys(FILES, _ENTRY))
    fields = msgspec.to_builtins(manifest)
    wrong = [{"sha256": "0" * 64, "size": size} for size in (7, 2**62, 3)]
    odd = [
        fields, {**fields, "format": FORMAT + 1}, {**fields, "name": "../v1"}, {**fields, "created": "now"},
        {**fields, "created": "0001-01-01T00:00:00"}, {**fields, "files": {}},
        {**fields, "files": {**fields["files"], "../x": {"sha256": "", "size": 0}}},
        *({**fields, "files": dict.fromkeys(FILES, entry)} for entry in wrong),
    ]  # fmt: skip
    return [b"", b"{}", b"\xff", b"[" * 2000, *map(msgspec.json.encode, odd)]


TOKENS: Final[Sequence[bytes]] = [
    *(f'"{name}":'.encode() for name in (*Manifest.__struct_fields__, *FileEntry.__struct_fields__)),
    *(f'"{name}":'.encode() for name in FILES),
    b"9223372036854775807", b"1e308", b'"\\ud800"', b"\\n", b"null",
]  # fmt: skip
