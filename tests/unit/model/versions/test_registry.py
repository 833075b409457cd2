"""The registry: every directory is listed, a damaged one with its reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from model.errors import VersionRefused
from model.versions.manifest import CONFIG, MANIFEST, METRICS, WEIGHTS
from model.versions.registry import describe, prune, version_names
from tests.unit.builders.versions import cut_off, save_version


def test_names_are_those_of_the_directories(tmp_path: Path) -> None:
    assert version_names(str(tmp_path / "nowhere")) == []
    for name in ("v2", "v1", "half-written"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    assert version_names(str(tmp_path)) == ["half-written", "v1", "v2"]


def test_a_registry_may_be_any_address_of_fsspec(tmp_path: Path) -> None:
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


def test_the_oldest_versions_are_deleted_but_for_those_to_keep(tmp_path: Path) -> None:
    for name in ("v1", "v2", "v3", "v4", "v5"):
        save_version(tmp_path / name)
    assert prune(str(tmp_path), {"v2"}, newest=2) == ["v1", "v3"]
    assert version_names(str(tmp_path)) == ["v2", "v4", "v5"]
    assert describe("v2", str(tmp_path / "v2")).damage == ""
    assert prune(str(tmp_path), {"v2"}, newest=2) == []


def test_the_manifest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that fails half-way leaves a directory that is not a version."""
    save_version(tmp_path / "v1")
    files = fsspec.filesystem("file")

    def fails(*_: object, **__: object) -> None:
        raise OSError("it hangs")

    monkeypatch.setattr(type(files), "rm", fails)
    with pytest.raises(VersionRefused, match=r"old versions in .* cannot be deleted") as refused:
        prune(str(tmp_path), (), newest=0)
    assert refused.value.reason == "unreadable"
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")
