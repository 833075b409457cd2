"""The registry: a folder of versions, on any storage that fsspec can reach.

It may hold other folders and files: what is not a version is neither listed nor deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import fsspec
import msgspec

from model.addresses import why
from model.errors import VersionRefused
from model.versions.manifest import (
    CONFIG,
    FILES,
    LARGEST_MANIFEST,
    MANIFEST,
    METRICS,
    PARTIAL,
    UNLISTED,
    Manifest,
    decode,
    read_manifest,
    read_verified,
    size_refusal,
)
from model.versions.version import Config, Fact
from model.versions.version_name import is_version_name


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version as it lies in the registry; of a damaged one the fields after `damage` are missing."""

    name: str  # of its directory
    path: str
    damage: str = ""  # reason and message; empty: the version is sound
    size: int = 0  # bytes of all its files
    created: str = ""  # RFC 3339
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)


def version_names(registry: str) -> list[str]:
    """Returns the names of the registry's directories, oldest first, those that a version may have.

    Returns an empty list if there is no registry yet. Raises `VersionRefused` (unreadable).
    """
    try:
        files, root = fsspec.core.url_to_fs(registry)
        folders = (_name(entry) for entry in files.ls(root, detail=True) if entry["type"] == "directory")
        return sorted(filter(is_version_name, folders))
    except FileNotFoundError:
        return []
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"the registry {registry} cannot be read: {why(error, registry)}") from error


def describe(name: str, path: str) -> ListedVersion:
    """Describes a version without reading its weights: their size is compared, not their hash."""
    try:
        manifest, _ = read_manifest(path)
        _check_sizes(path, manifest)
        config = decode(path, CONFIG, read_verified(path, CONFIG, manifest), Config)
        metrics = decode(path, METRICS, read_verified(path, METRICS, manifest), dict[str, float])
    except VersionRefused as refusal:
        return ListedVersion(name, path, damage=f"{refusal.reason}: {refusal}")
    size = sum(file.size for file in manifest.files.values())
    return ListedVersion(name, path, size=size, created=manifest.created, metrics=metrics, facts=config.facts)


def prune(registry: str, keep: Collection[str], newest: int) -> list[str]:
    """Deletes all versions but the `newest` and those to `keep`; returns the names of the deleted ones.

    A version is a folder with a manifest of nextact that calls it by its name. Nothing else is touched, and of a
    version only the files that nextact writes. Raises `VersionRefused` (unreadable).
    """
    names = version_names(registry)
    if len(names) <= newest:
        return []
    files, root = fsspec.core.url_to_fs(registry)
    try:
        names = _with_manifest(files, root, names)
        old = [name for name in names[: max(0, len(names) - newest)] if name not in keep]
        for name in old:
            _delete(files, f"{root}/{name}")
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused(
            "unreadable", f"old versions in {registry} cannot be deleted: {why(error, registry)}"
        ) from error
    return old


def _with_manifest(files: Any, root: str, names: list[str]) -> list[str]:
    """Returns those names whose folders hold a manifest, also one of a version that was not completed or half deleted.

    What cannot be read is left out: then more is kept, not less.
    """
    found: set[str] = set()
    for manifest in (MANIFEST, PARTIAL):
        sought = [name for name in names if name not in found]
        paths = [f"{root}/{name}/{manifest}" for name in sought]
        contents = files.cat_ranges(paths, 0, LARGEST_MANIFEST + 1, on_error="return")
        found |= {name for name, content in zip(sought, contents, strict=True) if _is_manifest(content, name)}
    return [name for name in names if name in found]


def _is_manifest(content: object, name: str) -> bool:
    """Returns whether this is the manifest of a version of this name, whatever its format."""
    if not isinstance(content, bytes) or len(content) > LARGEST_MANIFEST:
        return False
    try:
        return msgspec.json.decode(content, type=Manifest).name == name
    except (ValueError, RecursionError):
        return False


def _delete(files: Any, folder: str) -> None:
    """Deletes the files of a version, and its folder if nothing else is in it.

    The manifest loses its name first, so that a half-deleted directory is not a version, and goes last, so that another
    run finds what is left.
    """
    present = {_name(entry) for entry in files.ls(folder, detail=True)}
    if MANIFEST in present:
        files.mv(f"{folder}/{MANIFEST}", f"{folder}/{PARTIAL}")
    for key in (*FILES, *UNLISTED):
        if key in present:
            files.rm_file(f"{folder}/{key}")
    files.rm_file(f"{folder}/{PARTIAL}")
    if not present - {MANIFEST, PARTIAL, *FILES, *UNLISTED}:
        with suppress(Exception):  # an object store has no folders
            files.rmdir(folder)


def _check_sizes(path: str, manifest: Manifest) -> None:
    sizes = _sizes(path)
    for key, entry in manifest.files.items():
        if key not in sizes:
            raise VersionRefused("missing_file", f"{path} has no {key}")
        if sizes[key] != entry.size:
            raise size_refusal(path, key, f"{sizes[key]} bytes", entry)


def _sizes(path: str) -> dict[str, int]:
    try:
        files, root = fsspec.core.url_to_fs(path)
        return {_name(entry): entry["size"] for entry in files.ls(root, detail=True)}
    except Exception as error:
        raise VersionRefused("unreadable", f"{path} cannot be read: {why(error, path)}") from error


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]
