"""`nextact segments`: what groups of users a version knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from model.errors import VersionRefused
from model.profile.fitted_segments import FittedSegments
from model.profile.profile import Profile
from model.versions.manifest import CONFIG, decode, read_manifest, read_verified
from model.versions.registry import version_names
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings
from stream_app.versions.own_registry import version_path
from stream_app.versions.timeouts import with_timeout

_COLUMNS: Final = ("id", "users", "segment")


class _ProfileOnly(msgspec.Struct, frozen=True):
    """As much of `config.json` as this asks for."""

    profile: Profile = Profile()


class SegmentLine(msgspec.Struct, frozen=True):
    """One segment of a version."""

    version: str
    id: int
    name: str
    users_share: float


@dataclass(frozen=True, slots=True)
class VersionSegments:
    """The segments of a version."""

    version: str
    fitted: FittedSegments

    def lines(self) -> list[SegmentLine]:
        """Returns the segments, the largest first."""
        fitted = self.fitted
        rows = zip(fitted.ids, fitted.names, fitted.sizes, strict=True)
        lines = [SegmentLine(self.version, number, name, size) for number, name, size in rows]
        return sorted(lines, key=lambda line: -line.users_share)

    def table(self) -> Iterator[str]:
        """Yields lines for a terminal."""
        rows = [_COLUMNS, *((str(line.id), f"{100 * line.users_share:.1f} %", line.name) for line in self.lines())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield f"segments of {self.version}"
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if self.fitted.changes:
            yield f"since the version before: {'; '.join(self.fitted.changes)}"


async def read_segments(settings: Settings, version: str | None) -> VersionSegments:
    """Reads the segments of a version, by default of the newest. Raises `VersionUnusable` where there are none."""
    seconds = settings.registry_timeout
    try:
        if version is None:
            names: Sequence[str] = await with_timeout(seconds, lambda: version_names(settings.registry_address))
            if not names:
                raise VersionUnusable(f"{settings.registry} has no versions yet: the trainer's rounds write them")
            version = max(names)
        path = version_path(settings, version)
        profile = await with_timeout(seconds, lambda: _profile_in(path))
    except TimeoutError as error:
        raise VersionUnusable(f"{settings.registry} does not answer within {seconds:g} s") from error
    except VersionRefused as refusal:
        raise VersionUnusable(f"{version}: {refusal.reason}: {refusal}") from refusal
    if profile.segments is None:
        raise VersionUnusable(
            f"{version} knows no segments: it is older than they are, or its log had too few users to tell groups apart"
        )
    return VersionSegments(version, profile.segments)


def _profile_in(path: str) -> Profile:
    manifest, _ = read_manifest(path)
    return decode(path, CONFIG, read_verified(path, CONFIG, manifest), _ProfileOnly).profile
