"""The segments of versions in a registry."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from model.profile.profile import Profile
from model.versions.version import VersionContents, save
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings, load_settings
from stream_app.versions.segments import VersionSegments, read_segments
from tests.unit.builders.basics import make_version
from tests.unit.builders.segments import fitted_segments
from tests.unit.builders.versions import flip_a_bit


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A registry of two versions, of which the older one has no segments."""
    for name, profile in (("v1", Profile()), ("v2", Profile(segments=fitted_segments()))):
        version = replace(make_version(name=name), profile=profile)
        contents = {field.name: getattr(version, field.name) for field in fields(VersionContents)}
        save(str(tmp_path / name), VersionContents(**contents))
    return load_settings({"registry": str(tmp_path)})


def test_the_newest_version_is_read(settings: Settings) -> None:
    found = asyncio.run(read_segments(settings, None))
    assert (found.version, found.fitted) == ("v2", fitted_segments())


def test_one_without_segments_and_a_damaged_one_are_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(VersionUnusable, match="v1 knows no segments"):
        asyncio.run(read_segments(settings, "v1"))
    flip_a_bit(tmp_path / "v2" / "config.json")
    with pytest.raises(VersionUnusable, match="v2: "):
        asyncio.run(read_segments(settings, "v2"))


def test_what_became_of_those_before_is_said() -> None:
    *_, last = VersionSegments("v2", changed(fitted_segments(), changes=["3 is gone", "4 (new) is new"])).table()
    assert last == "since the version before: 3 is gone; 4 (new) is new"
