"""The registry: a folder of versions, on any storage that fsspec can reach."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec

from model.errors import VersionRefused
from model.versions.manifest import CONFIG, MANIFEST, METRICS, Manifest, decode, read_manifest, read_verified
from model.versions.version import Config, Fact


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
    """Returns the names of all directories in the registry, oldest first; an empty list if there is no registry yet.

    Raises `VersionRefused` (unreadable).
    """
    try:
        files, root = fsspec.core.url_to_fs(registry)
        return sorted(_name(entry) for entry in files.ls(root, detail=True) if entry["type"] == "directory")
    except FileNotFoundError:
        return []
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"the registry {registry} cannot be read: {error!r}") from error


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

    The manifest goes first, so that a half-deleted directory is not a version. Raises `VersionRefused` (unreadable).
    """
    names = version_names(registry)
    old = [name for name in names[: max(0, len(names) - newest)] if name not in keep]
    files, root = fsspec.core.url_to_fs(registry)
    try:
        for name in old:
            if files.exists(f"{root}/{name}/{MANIFEST}"):
                files.rm_file(f"{root}/{name}/{MANIFEST}")
            files.rm(f"{root}/{name}", recursive=True)
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"old versions in {registry} cannot be deleted: {error!r}") from error
    return old


def _check_sizes(path: str, manifest: Manifest) -> None:
    sizes = _sizes(path)
    for key, entry in manifest.files.items():
        if key not in sizes:
            raise VersionRefused("missing_file", f"{path} has no {key}")
        if sizes[key] != entry.size:
            raise VersionRefused("hash", f"{path}/{key} has {sizes[key]} bytes, the manifest says {entry.size}")


def _sizes(path: str) -> dict[str, int]:
    try:
        files, root = fsspec.core.url_to_fs(path)
        return {_name(entry): entry["size"] for entry in files.ls(root, detail=True)}
    except Exception as error:
        raise VersionRefused("unreadable", f"{path} cannot be read: {error!r}") from error


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]
