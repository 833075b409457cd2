"""The registry: every directory that may be a version is listed, a damaged one with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from model.errors import VersionRefused
from model.versions.manifest import (
    CARD,
    CONFIG,
    FILES,
    FORMAT,
    LARGEST_MANIFEST,
    MANIFEST,
    METRICS,
    PARTIAL,
    WEIGHTS,
    write,
)
from model.versions.registry import describe, prune, version_names
from tests.unit.builders.versions import cut_off, save_version

CREATED = "2026-01-02T03:04:05Z"


def test_names_are_those_of_directories_that_a_version_may_have(tmp_path: Path) -> None:
    assert version_names(str(tmp_path / "nowhere")) == []
    for name in ("v2", "v1", "half-written", "a site", ".hidden", "-v"):
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
    ("key", "reason"), [(MANIFEST, "format"), (WEIGHTS, "size"), (METRICS, "size"), (CONFIG, "size")]
)
def test_damage_has_a_reason(tmp_path: Path, key: str, reason: str) -> None:
    save_version(tmp_path / "v1")
    cut_off(tmp_path / "v1" / key)
    assert describe("v1", str(tmp_path / "v1")).damage.startswith(f"{reason}: ")
    (tmp_path / "v1" / key).unlink()
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")
    shutil.rmtree(tmp_path / "v1")
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")


REGISTRIES = ("file://{}", "{}", "memory://{}")


@pytest.fixture(params=REGISTRIES)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty registry, on a disk and on a store that has no folders of its own."""
    yield request.param.format(tmp_path)
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def put(registry: str, *names: str) -> None:
    """Versions whose files hold anything."""
    contents = dict.fromkeys(FILES, b"anything")
    for name in names:
        write(f"{registry}/{name}", name=name, created=CREATED, contents=contents, unlisted={CARD: b"a card"})


def all_files(registry: str) -> set[str]:
    """The paths of all files in the registry."""
    files, root = fsspec.core.url_to_fs(registry)
    return {str(path).removeprefix(f"{root}/") for path in files.find(root)}


def test_the_oldest_versions_are_deleted_but_for_those_to_keep(registry: str) -> None:
    put(registry, "v1", "v2", "v3", "v4", "v5")
    kept = {path for path in all_files(registry) if path[:2] in ("v2", "v4", "v5")}
    assert prune(registry, {"v2"}, newest=2) == ["v1", "v3"]
    assert version_names(registry) == ["v2", "v4", "v5"]
    assert all_files(registry) == kept
    assert prune(registry, {"v2"}, newest=2) == []
    assert prune(registry, {"v2"}, newest=3) == []


def test_what_is_not_a_version_survives(registry: str) -> None:
    """A registry of `s3://bucket` instead of `s3://bucket/models` must not cost the company its data."""
    files, root = fsspec.core.url_to_fs(registry)
    manifest = msgspec.json.encode({"format": FORMAT, "name": "another", "created": CREATED, "files": {}})
    for number in range(55):
        files.makedirs(f"{root}/company-data-{number:02}/deep", exist_ok=True)
        files.pipe_file(f"{root}/company-data-{number:02}/deep/table.parquet", b"precious")
    for folder, key, content in (
        ("moved", MANIFEST, manifest),  # calls itself otherwise
        ("a site", MANIFEST, manifest),
        ("web-app", MANIFEST, b'{"name": "web-app", "icons": []}'),  # what browsers call a manifest
        ("large", MANIFEST, b" " * (LARGEST_MANIFEST + 1)),
        ("weights-alone", WEIGHTS, b"of somebody"),
    ):
        files.makedirs(f"{root}/{folder}", exist_ok=True)
        files.pipe_file(f"{root}/{folder}/{key}", content)
    files.pipe_file(f"{root}/notes.txt", b"ours")
    foreign = all_files(registry)
    put(registry, "v1", "v2", "v3")
    before = all_files(registry)
    assert prune(registry, (), newest=3) == [], "what is not a version takes no version's place"
    assert all_files(registry) == before
    assert prune(registry, {"v2"}, newest=1) == ["v1"]
    assert prune(registry, (), newest=0) == ["v2", "v3"]
    assert all_files(registry) == foreign


def test_files_that_somebody_put_beside_a_version_survive(registry: str) -> None:
    put(registry, "v1", "v2")
    files, root = fsspec.core.url_to_fs(registry)
    files.pipe_file(f"{root}/v1/analysis.ipynb", b"by hand")
    assert prune(registry, (), newest=1) == ["v1"]
    assert {path for path in all_files(registry) if path.startswith("v1")} == {"v1/analysis.ipynb"}
    assert prune(registry, (), newest=0) == ["v2"]


def test_versions_of_other_formats_and_half_written_ones_go_too(registry: str) -> None:
    put(registry, "v1", "v2", "v3")
    files, root = fsspec.core.url_to_fs(registry)
    old = msgspec.json.decode(files.cat_file(f"{root}/v1/{MANIFEST}")) | {"format": 1}
    files.pipe_file(f"{root}/v1/{MANIFEST}", msgspec.json.encode(old))
    files.mv(f"{root}/v2/{MANIFEST}", f"{root}/v2/{PARTIAL}")
    files.rm_file(f"{root}/v2/{WEIGHTS}")
    assert prune(registry, (), newest=1) == ["v1", "v2"]
    assert {path.partition("/")[0] for path in all_files(registry)} == {"v3"}


def test_a_deletion_that_fails_half_way_leaves_no_version_and_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(str(tmp_path), "v1")
    local, deleted = type(fsspec.filesystem("file")), list[str]()
    delete = local.rm_file

    def fails(files: Any, path: str) -> None:
        deleted.append(path)
        if len(deleted) == 2:
            raise OSError("it hangs")
        delete(files, path)

    with monkeypatch.context() as patch:
        patch.setattr(local, "rm_file", fails)
        with pytest.raises(VersionRefused, match=r"old versions in .* cannot be deleted") as refused:
            prune(str(tmp_path), (), newest=0)
    assert refused.value.reason == "unreadable"
    assert describe("v1", str(tmp_path / "v1")).damage.startswith("missing_file: ")
    assert prune(str(tmp_path), (), newest=0) == ["v1"]
    assert not any(tmp_path.iterdir())
