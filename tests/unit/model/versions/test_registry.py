"""The registry: every directory is listed, a damaged one with its reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.errors import VersionRefused
from model.versions.manifest import CONFIG, MANIFEST, METRICS, WEIGHTS
from model.versions.registry import describe, version_names
from tests.unit.builders.versions import cut_off, save_version


def test_names_are_those_of_the_directories(tmp_path: Path) -> None:
    assert version_names(str(tmp_path / "nowhere")) == []
    for name in ("v2", "v1", "half-written"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    assert version_names(str(tmp_path)) == ["half-written", "v1", "v2"]


def test_the_address_may_be_of_any_kind(tmp_path: Path) -> None:
    save_version(tmp_path / "v1")
    assert version_names(f"file://{tmp_path}") == ["v1"]
    assert describe("v1", f"file://{tmp_path}/v1").damage == ""


def test_a_registry_that_cannot_be_read_is_an_error_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(VersionRefused) as refused:
        version_names("nowhere-at-all://models")
    assert refused.value.reason == "unreadable"


def test_a_sound_version_says_what_it_is(tmp_path: Path) -> None:
    save_version(tmp_path / "v1", metrics={"recall@20": 0.25}, facts={"events": 7})
    listed = describe("v1", str(tmp_path / "v1"))
    files = [file.stat().st_size for file in (tmp_path / "v1").iterdir() if file.name != MANIFEST]
    assert (listed.damage, listed.created, listed.size) == ("", "2026-01-02T03:04:05Z", sum(files))
    assert (listed.metrics, listed.facts) == ({"recall@20": 0.25}, {"events": 7})


@pytest.mark.parametrize(
    ("key", "reason"), [(MANIFEST, "format"), (WEIGHTS, "hash"), (METRICS, "hash"), (CONFIG, "hash")]
)
def test_damage_has_a_reason(tmp_path: Path, key: str, reason: str) -> None:
    save_version(tmp_path / "v1")
    cut_off(tmp_path / "v1" / key)
    assert describe("v1", str(tmp_path / "v1")).damage.startswith(f"{reason}: ")
    (tmp_path / "v1" / key).unlink()
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")
    shutil.rmtree(tmp_path / "v1")
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")
