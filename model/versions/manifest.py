"""The manifest of a version: which files it has, the SHA-256 and the size of each.

A directory without a manifest is no version, and the hash of the manifest stands for all of its bytes.
Bytes are compared with their hashes before anything parses them; files that are not listed are never opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeVar

import fsspec
import msgspec

from model.errors import VersionNotSaved, VersionRefused

FORMAT: Final = 3  # 1: without FUSION; 2: contexts in tables of their own, a combiner that knew a feature less
MANIFEST: Final = "manifest.json"
PARTIAL: Final = f"{MANIFEST}.partial"
WEIGHTS: Final = "weights.safetensors"
FUSION: Final = "fusion.safetensors"
CONFIG: Final = "config.json"
VOCABULARY: Final = "vocabulary.json"
METRICS: Final = "metrics.json"
FILES: Final = (WEIGHTS, FUSION, CONFIG, VOCABULARY, METRICS)

T = TypeVar("T")


class File(msgspec.Struct, frozen=True):
    """What a file must be; `size` in bytes."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True):
    """`created` is RFC 3339; `files` has exactly the names in `FILES`."""

    format: int
    name: str
    created: str
    files: dict[str, File]


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The bytes of a version, which are those that its manifest means; nothing but the manifest is parsed yet."""

    path: str
    manifest: Manifest
    manifest_sha256: str
    contents: Mapping[str, bytes]


class _Format(msgspec.Struct, frozen=True):
    """The one field of a manifest that every format has."""

    format: int


def write(path: str, *, name: str, created: str, contents: Mapping[str, bytes], for_people: Mapping[str, bytes]) -> str:
    """Writes files and manifest into the directory `path`; returns the SHA-256 of the manifest, in hex.

    Files `for_people` are not in the manifest.

    Raises `VersionNotSaved` where a version is already or the place takes nothing.
    """
    files = {key: File(sha256(content).hexdigest(), len(content)) for key, content in contents.items()}
    manifest = msgspec.json.encode(Manifest(FORMAT, name, created, files))
    try:
        _write(path, {**contents, **for_people}, manifest)
    except VersionNotSaved:
        raise
    except Exception as error:  # every kind of storage raises errors of its own
        _tidy(path, (*contents, *for_people, PARTIAL))
        raise VersionNotSaved(f"{path} cannot be written: {error!r}. Is it there, with room and permission?") from error
    return sha256(manifest).hexdigest()


def read_files(path: str, expected_manifest_sha256: str | None = None) -> VersionFiles:
    """All files in the directory `path`.

    Raises `VersionRefused`: missing_file; unreadable, of the place; hash, when any byte differs from the
    manifest or the manifest from `expected_manifest_sha256`; format, of a manifest that is newer, older or none.
    """
    manifest, digest = read_manifest(path, expected_manifest_sha256)
    return VersionFiles(path, manifest, digest, {key: read_verified(path, key, manifest) for key in FILES})


def read_manifest(path: str, expected_sha256: str | None = None) -> tuple[Manifest, str]:
    """The manifest in the directory `path`, and its SHA-256 in hex. Raises `VersionRefused`."""
    content = read(path, MANIFEST)
    digest = sha256(content).hexdigest()
    if expected_sha256 not in (None, digest):
        raise VersionRefused(
            "hash",
            f"{path}/{MANIFEST} has SHA-256 {digest}, announced was {expected_sha256}: "
            "it was changed or is another version; publish the version again",
        )
    found = decode(path, MANIFEST, content, _Format).format
    if found != FORMAT:
        mend = "update the workers first" if found > FORMAT else "publish a new version with this trainer"
        raise VersionRefused("format", f"{path} has format {found}, this nextact reads format {FORMAT}: {mend}")
    manifest = decode(path, MANIFEST, content, Manifest)
    _check_names(path, manifest)
    _check_created(path, manifest)
    return manifest, digest


def read_verified(path: str, key: str, manifest: Manifest) -> bytes:
    """The bytes of a file, which are the ones that the manifest means. Raises `VersionRefused`."""
    listed = manifest.files[key]
    content = read(path, key)
    digest = sha256(content).hexdigest()
    if (len(content), digest) != (listed.size, listed.sha256):
        raise VersionRefused(
            "hash",
            f"{path}/{key} has {len(content)} bytes with SHA-256 {digest}, the manifest says {listed.size} "
            f"with {listed.sha256}: it was truncated or changed; publish the version again",
        )
    return content


def read(path: str, key: str) -> bytes:
    """The bytes of a file, whatever they are. Raises `VersionRefused` (missing_file, unreadable)."""
    try:
        files, root = fsspec.core.url_to_fs(path)
        content: bytes = files.cat_file(f"{root}/{key}")
    except FileNotFoundError as error:
        raise VersionRefused("missing_file", f"{path} has no {key}: the version is not complete") from error
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"{path}/{key} cannot be read: {error!r}") from error
    return content


def decode(path: str, key: str, content: bytes, kind: type[T]) -> T:
    """JSON of a kind. Raises `VersionRefused` (format)."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's own, bytes that are no UTF-8, or nested too deep
        raise VersionRefused("format", f"{path}/{key} is not what nextact writes: {error}") from error


def _write(path: str, contents: Mapping[str, bytes], manifest: bytes) -> None:
    files, root = fsspec.core.url_to_fs(path)
    if files.exists(f"{root}/{MANIFEST}"):
        raise VersionNotSaved(f"{path} already holds a version; a version never changes: choose a new name")
    files.makedirs(root, exist_ok=True)
    for key, content in contents.items():
        files.pipe_file(f"{root}/{key}", content)
    # Moved into place whole, so that a crash in the middle leaves no half of a manifest.
    files.pipe_file(f"{root}/{PARTIAL}", manifest)
    files.mv(f"{root}/{PARTIAL}", f"{root}/{MANIFEST}")


def _tidy(path: str, names: Iterable[str]) -> None:
    """Takes back what was written of a version that is none: on a full disk it would fill it for good."""
    with suppress(Exception):  # what cannot be written may not be there, or not be removed either
        files, root = fsspec.core.url_to_fs(path)
        for name in names:
            with suppress(FileNotFoundError):
                files.rm_file(f"{root}/{name}")
        files.rmdir(root)


def _check_names(path: str, manifest: Manifest) -> None:
    """Names of other files, `../` among them, mean a publisher that this nextact does not know."""
    missing = [key for key in FILES if key not in manifest.files]
    unknown = sorted(manifest.files.keys() - set(FILES))
    if missing:
        raise VersionRefused("missing_file", f"the manifest of {path} does not list {', '.join(missing)}")
    if unknown:
        raise VersionRefused("format", f"the manifest of {path} lists files that a version does not have: {unknown}")


def _check_created(path: str, manifest: Manifest) -> None:
    try:
        datetime.fromisoformat(manifest.created)
    except ValueError as error:
        raise VersionRefused("format", f"the manifest of {path}: {error}") from error
