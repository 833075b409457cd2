"""The registry: a folder of versions, on any place that fsspec can reach."""

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
    """A version as it lies there; where it is damaged, what comes after `damage` may be missing."""

    name: str  # of its directory
    path: str
    damage: str = ""  # the reason and what it is
    size: int = 0  # bytes of all its files
    created: str = ""  # RFC 3339
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)


def version_names(registry: str) -> list[str]:
    """The names of all directories in the registry, oldest first; none where the registry is not there yet.

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
    """A version without its weights: their size is compared, not their hash."""
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
    """Deletes all versions but the `newest` and those to `keep`; returns the names of what is gone.

    The manifest goes first, so that what is half deleted is no version. Raises `VersionRefused` (unreadable).
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
    found = _sizes(path)
    for key, file in manifest.files.items():
        if key not in found:
            raise VersionRefused("missing_file", f"{path} has no {key}")
        if found[key] != file.size:
            raise VersionRefused("hash", f"{path}/{key} has {found[key]} bytes, the manifest says {file.size}")


def _sizes(path: str) -> dict[str, int]:
    try:
        files, root = fsspec.core.url_to_fs(path)
        return {_name(entry): entry["size"] for entry in files.ls(root, detail=True)}
    except Exception as error:
        raise VersionRefused("unreadable", f"{path} cannot be read: {error!r}") from error


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]
