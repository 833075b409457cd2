"""The manifest of a version: which files it has, the SHA-256 and the size of each.

A directory without a manifest is not a version, and the hash of the manifest stands for all of its bytes.
Bytes are compared with their hashes before anything parses them; files that are not listed are never opened, and of no
file more is read than its manifest says, so that whoever may write into a registry cannot fill a worker's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, TypeVar

import fsspec
import msgspec

from model.addresses import why
from model.errors import VersionNotSaved, VersionRefused
from model.versions.version_name import NAME_RULE, is_version_name, quoted

FORMAT: Final = 4  # 1: without FUSION; 2: contexts in tables of their own, a combiner with one feature less
FORMAT_BEFORE: Final = 3  # statistics by catalogue index, a combiner without the features of live ones
MANIFEST: Final = "manifest.json"
PARTIAL: Final = f"{MANIFEST}.partial"
WEIGHTS: Final = "weights.safetensors"
FUSION: Final = "fusion.safetensors"
CONFIG: Final = "config.json"
VOCABULARY: Final = "vocabulary.json"
METRICS: Final = "metrics.json"
FILES: Final = (WEIGHTS, FUSION, CONFIG, VOCABULARY, METRICS)
CARD: Final = "card.md"
REPORT: Final = "report.json"
LAST_SEEN: Final = "last_seen.i64"  # for the trainer
FOR_PEOPLE: Final = (CARD, REPORT)
UNLISTED: Final = (*FOR_PEOPLE, LAST_SEEN)  # beside the others, not in the manifest

LARGEST_MANIFEST: Final = 1 << 20  # bytes; a manifest of ours has less than a thousand
LARGEST_VERSION: Final = 32 << 30  # bytes of all files; five million items of 128 numbers take about three of 2^30
LARGEST_REPORT: Final = 64 << 20  # bytes of a file for people

_NAMED: Final = 5  # unknown files that a message names

T = TypeVar("T")


class FileEntry(msgspec.Struct, frozen=True):
    """What the manifest says of a file."""

    sha256: str  # in hex
    size: Annotated[int, msgspec.Meta(ge=0)]  # bytes


class Manifest(msgspec.Struct, frozen=True):
    """The content of `manifest.json`; `files` has exactly the names in `FILES`."""

    format: int
    name: str
    created: str  # RFC 3339
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The bytes of a version, which agree with its manifest; nothing but the manifest is parsed yet."""

    path: str
    manifest: Manifest
    manifest_sha256: str
    contents: Mapping[str, bytes]


class _FormatHeader(msgspec.Struct, frozen=True):
    """The one field of a manifest that every format has."""

    format: int


def write(
    path: str,
    *,
    name: str,
    created: str,
    contents: Mapping[str, bytes],
    unlisted: Mapping[str, bytes],
    number: int = FORMAT,
) -> str:
    """Writes files and manifest into the directory `path`; returns the SHA-256 of the manifest, in hex.

    `unlisted` files are not in the manifest; `number` is that of the format.
    Raises `VersionNotSaved` if there is a version already or the storage refuses the files.
    """
    files = {key: FileEntry(sha256(content).hexdigest(), len(content)) for key, content in contents.items()}
    manifest = msgspec.json.encode(Manifest(number, name, created, files))
    try:
        _write(path, {**contents, **unlisted}, manifest)
    except VersionNotSaved:
        raise
    except Exception as error:  # every kind of storage raises errors of its own
        _remove_partial(path, (*contents, *unlisted, PARTIAL))
        raise VersionNotSaved(
            f"{path} cannot be written: {why(error, path)}. Is it there, with room and permission?"
        ) from error
    return sha256(manifest).hexdigest()


def read_files(path: str, expected_manifest_sha256: str | None = None) -> VersionFiles:
    """Reads and verifies all files in the directory `path`.

    Raises `VersionRefused`: missing_file; unreadable; size, if a file has another one than the manifest says, or that
    is too large; hash, if any byte differs from the manifest or the manifest from `expected_manifest_sha256`; format,
    for a manifest that is newer, older or not one at all.
    """
    manifest, digest = read_manifest(path, expected_manifest_sha256)
    return VersionFiles(path, manifest, digest, {key: read_verified(path, key, manifest) for key in FILES})


def read_manifest(path: str, expected_sha256: str | None = None) -> tuple[Manifest, str]:
    """Returns the manifest in the directory `path`, and its SHA-256 in hex. Raises `VersionRefused`."""
    content = read(path, MANIFEST, LARGEST_MANIFEST)
    digest = sha256(content).hexdigest()
    if expected_sha256 not in (None, digest):
        raise VersionRefused(
            "hash",
            f"{path}/{MANIFEST} has SHA-256 {digest}, announced was {expected_sha256}: "
            "it was changed or is another version; publish the version again",
        )
    number = decode(path, MANIFEST, content, _FormatHeader).format
    if number not in (FORMAT, FORMAT_BEFORE):
        remedy = "update the workers first" if number > FORMAT else "publish a new version with this trainer"
        raise VersionRefused(
            "format", f"{path} has format {number}, this nextact reads formats {FORMAT_BEFORE} and {FORMAT}: {remedy}"
        )
    manifest = decode(path, MANIFEST, content, Manifest)
    _check_names(path, manifest)
    _check_sizes(path, manifest)
    _check_created(path, manifest)
    return manifest, digest


def read_verified(path: str, key: str, manifest: Manifest) -> bytes:
    """Reads a file and compares it with its entry in the manifest. Raises `VersionRefused`."""
    entry = manifest.files[key]
    content = read(path, key, entry.size)
    if len(content) != entry.size:
        raise size_refusal(path, key, f"{len(content)} bytes", entry)
    digest = sha256(content).hexdigest()
    if digest != entry.sha256:
        raise VersionRefused(
            "hash",
            f"{path}/{key} has SHA-256 {digest}, the manifest says {quoted(entry.sha256)}: it was changed; publish "
            "the version again",
        )
    return content


def size_refusal(path: str, key: str, found: str, entry: FileEntry) -> VersionRefused:
    """Returns the refusal of a file that has another size than its manifest says."""
    return VersionRefused(
        "size",
        f"{path}/{key} has {found}, the manifest says {entry.size}: it was cut or changed; publish the version again",
    )


def read(path: str, key: str, most: int) -> bytes:
    """Reads a file of at most so many bytes, and no byte more than one beyond, without any other check.

    Raises `VersionRefused` (missing_file, unreadable, size).
    """
    try:
        files, root = fsspec.core.url_to_fs(path)
        with files.open(f"{root}/{key}", "rb") as file:
            content: bytes = file.read(most + 1)
    except FileNotFoundError as error:
        raise VersionRefused("missing_file", f"{path} has no {key}: the version is not complete") from error
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"{path}/{key} cannot be read: {why(error, path)}") from error
    if len(content) > most:
        raise VersionRefused("size", f"{path}/{key} has more than the {most} bytes that it may have")
    return content


def decode(path: str, key: str, content: bytes, kind: type[T]) -> T:
    """Decodes JSON of a kind. Raises `VersionRefused` (format)."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's own, bytes that are not UTF-8, or nested too deep
        raise VersionRefused("format", f"{path}/{key} is not what nextact writes: {error}") from error


def _write(path: str, contents: Mapping[str, bytes], manifest: bytes) -> None:
    files, root = fsspec.core.url_to_fs(path)
    if files.exists(f"{root}/{MANIFEST}"):
        raise VersionNotSaved(f"{path} already holds a version; a version never changes: choose a new name")
    files.makedirs(root, exist_ok=True)
    # The manifest gets its name when all is there: a crash before that leaves a directory that is not a version, and is
    # known for one that was to be.
    files.pipe_file(f"{root}/{PARTIAL}", manifest)
    for key, content in contents.items():
        files.pipe_file(f"{root}/{key}", content)
    files.mv(f"{root}/{PARTIAL}", f"{root}/{MANIFEST}")


def _remove_partial(path: str, names: Iterable[str]) -> None:
    """Removes the files of a version that could not be completed: on a full disk they would fill it for good."""
    with suppress(Exception):  # where writing fails, files may be missing, or fail to be removed
        files, root = fsspec.core.url_to_fs(path)
        for name in names:
            with suppress(FileNotFoundError):
                files.rm_file(f"{root}/{name}")
        files.rmdir(root)


def _check_names(path: str, manifest: Manifest) -> None:
    """Refuses missing names and other ones: `../` or an unknown file mean a publisher that is not nextact."""
    if not is_version_name(manifest.name):
        raise VersionRefused("format", f"the manifest of {path} calls it {quoted(manifest.name)}: {NAME_RULE}")
    missing = [key for key in FILES if key not in manifest.files]
    unknown = sorted(manifest.files.keys() - set(FILES))
    if missing:
        raise VersionRefused("missing_file", f"the manifest of {path} does not list {', '.join(missing)}")
    if unknown:
        names = ", ".join(map(quoted, unknown[:_NAMED]))
        raise VersionRefused("format", f"the manifest of {path} lists files that a version does not have: {names}")


def _check_sizes(path: str, manifest: Manifest) -> None:
    total = sum(entry.size for entry in manifest.files.values())
    if total > LARGEST_VERSION:
        raise VersionRefused(
            "size", f"the manifest of {path} lists {total} bytes, a version has at most {LARGEST_VERSION}"
        )


def _check_created(path: str, manifest: Manifest) -> None:
    try:
        datetime.fromisoformat(manifest.created).timestamp()
    except (ValueError, OverflowError, OSError) as error:  # not a time, or none that a clock can show
        raise VersionRefused(
            "format", f"the manifest of {path} has {quoted(manifest.created)} for the time when it was made"
        ) from error
