"""`nextact segments` on a registry in a folder."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model.profile.profile import Profile
from model.versions.version import VersionContents, save
from stream_app.cli.segments import segments
from stream_app.errors import VersionUnusable
from tests.unit.builders.basics import make_version
from tests.unit.builders.segments import fitted_segments


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Two versions: the newer one has segments."""
    for name, profile in (("v1", Profile()), ("v2", Profile(segments=fitted_segments(ids=(3, 1))))):
        version = replace(make_version(name=name), profile=profile)
        contents = {field.name: getattr(version, field.name) for field in fields(VersionContents)}
        save(str(tmp_path / "registry" / name), VersionContents(**contents))
    return tmp_path / "registry"


def run(*arguments: Any) -> list[str]:
    done = CliRunner().invoke(segments, list(map(str, arguments)))
    if done.exception is not None:
        raise done.exception
    return done.stdout.splitlines()


def test_segments_are_listed_as_a_table_or_as_json(registry: Path) -> None:
    table = run("list", "--registry", registry)
    assert [row.split() for row in table] == [
        ["segments", "of", "v2"],
        ["id", "users", "segment"],
        ["1", "70.0", "%", "few", "visits"],
        ["3", "30.0", "%", "returning"],
    ]
    lines = [json.loads(line) for line in run("list", "--registry", registry, "--json")]
    assert [(line["id"], line["name"], line["users_share"]) for line in lines] == [
        (1, "few visits", 0.7),
        (3, "returning", 0.3),
    ]


def test_they_are_drawn(registry: Path, tmp_path: Path) -> None:
    (line,) = run("plot", tmp_path / "pictures", "--registry", registry)
    picture = Path(line.removeprefix("wrote "))
    assert picture == tmp_path / "pictures" / "segments.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_has_none_is_said(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(VersionUnusable, match="v1 knows no segments"):
        segments.main(["list", "--version", "v1", "--registry", str(registry)], standalone_mode=False)
    with pytest.raises(VersionUnusable, match="has no versions yet"):
        segments.main(["list", "--registry", str(tmp_path / "empty")], standalone_mode=False)
    with pytest.raises(VersionUnusable, match="v9"):
        segments.main(["list", "--version", "v9", "--registry", str(registry)], standalone_mode=False)
