"""Reads versions from this process's own registry: a promotion says which one, never where it lies."""

from __future__ import annotations

import asyncio
from functools import partial

from model.errors import VersionRefused
from model.versions.last_seen import read_last_seen
from model.versions.manifest import VersionFiles, read_files
from model.versions.registry import version_names
from model.versions.version import Version, parse
from model.versions.version_name import NAME_RULE, is_version_name, quoted
from stream_app.settings import Settings
from stream_app.versions.timeouts import with_timeout


def version_path(settings: Settings, version: str) -> str:
    """Returns where a version of this name lies. Raises `VersionRefused` (promotion) for a name that none may have."""
    if not is_version_name(version):
        raise VersionRefused("promotion", f"{quoted(version)} is not the name of a version: {NAME_RULE}")
    return f"{settings.registry_address.removesuffix('/')}/{version}"


async def read_version(settings: Settings, version: str, manifest_sha256: str | None = None) -> VersionFiles:
    """Reads and verifies the files of a version.

    Raises `VersionRefused`, as `read_files` does; also as unreadable if they do not come in time, and as format if the
    version calls itself otherwise.
    """
    path, seconds = version_path(settings, version), settings.registry_timeout
    try:
        files = await with_timeout(seconds, lambda: read_files(path, manifest_sha256))
    except TimeoutError as error:
        raise VersionRefused("unreadable", f"{path} does not answer within {seconds:g} s") from error
    if files.manifest.name != version:
        raise VersionRefused("format", f"the version in {path} calls itself {files.manifest.name}")
    return files


async def read_for_training(settings: Settings, version: str, manifest_sha256: str | None = None) -> Version:
    """Reads a version with what only a trainer asks of it: when its items were last seen. Raises `VersionRefused`."""
    files = await read_version(settings, version, manifest_sha256)
    found = await asyncio.to_thread(parse, files)
    times = partial(read_last_seen, files.path, found.facts, len(found.vocabulary))
    try:
        found.vocabulary.last_seen = await with_timeout(settings.registry_timeout, times)
    except TimeoutError as error:
        raise VersionRefused("unreadable", f"{files.path} does not answer in time") from error
    return found


async def check_not_empty(settings: Settings) -> None:
    """Raises `VersionRefused` (unreadable) when no version at all lies in the registry: then it may not be mounted."""
    registry, seconds = settings.registry_address, settings.registry_timeout
    try:
        names = await with_timeout(seconds, lambda: version_names(registry))
    except TimeoutError as error:
        raise VersionRefused("unreadable", f"{registry} does not answer within {seconds:g} s") from error
    if not names:
        raise VersionRefused("unreadable", f"the registry {registry} has no version at all: is it mounted?")
