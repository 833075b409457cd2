"""The manifest: what is written comes back byte for byte, and nothing is parsed that it does not vouch for."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest

from model.errors import VersionNotSaved, VersionRefused
from model.versions import manifest as manifests
from model.versions.manifest import (
    FILES,
    FORMAT,
    FORMAT_BEFORE,
    LARGEST_MANIFEST,
    MANIFEST,
    METRICS,
    PARTIAL,
    UNLISTED,
    VOCABULARY,
    WEIGHTS,
    read_files,
    write,
)

CONTENTS = {key: f"content of {key}".encode() for key in FILES}
CREATED = "2026-01-02T03:04:05Z"


def publish(path: Path | str) -> str:
    return write(str(path), name="v1", created=CREATED, contents=CONTENTS, unlisted={"card.md": b"# v1"})


@pytest.fixture
def version(tmp_path: Path) -> Path:
    publish(tmp_path / "v1")
    return tmp_path / "v1"


def change_manifest(version: Path, **fields: Any) -> None:
    manifest = json.loads((version / MANIFEST).read_bytes())
    (version / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def refusal(path: Path | str, expected: str | None = None) -> str:
    with pytest.raises(VersionRefused) as refused:
        read_files(str(path), expected)
    return refused.value.reason


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    digest = publish(tmp_path / "v1")
    files = read_files(str(tmp_path / "v1"), digest)
    assert (files.contents, files.manifest_sha256) == (CONTENTS, digest)
    assert digest == sha256((tmp_path / "v1" / MANIFEST).read_bytes()).hexdigest()
    assert (files.manifest.format, files.manifest.name, files.manifest.created) == (FORMAT, "v1", CREATED)
    assert {file.name for file in (tmp_path / "v1").iterdir()} == {*FILES, MANIFEST, "card.md"}


def test_files_for_people_may_change(version: Path) -> None:
    (version / "card.md").write_text("# another one")
    assert read_files(str(version)).contents == CONTENTS


def test_another_manifest_than_announced_is_refused(version: Path) -> None:
    assert refusal(version, "0" * 64) == "hash"


@pytest.mark.parametrize(
    ("other", "remedy"), [(FORMAT + 1, "update the workers"), (FORMAT_BEFORE - 1, "publish a new version")]
)
def test_another_format_is_refused_with_the_remedy(version: Path, other: int, remedy: str) -> None:
    change_manifest(version, format=other, files="elsewhere")
    with pytest.raises(VersionRefused, match=remedy) as refused:
        read_files(str(version))
    assert refused.value.reason == "format"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 3}', b"\xff\xfe", b'{"format": 3, "name": "\xff"}', b"[" * 9999]
)
def test_bytes_that_are_not_a_manifest_are_refused(version: Path, content: bytes) -> None:
    (version / MANIFEST).write_bytes(content)
    assert refusal(version) == "format"


def test_an_unlisted_file_is_refused(version: Path) -> None:
    manifest = json.loads((version / MANIFEST).read_bytes())
    del manifest["files"][METRICS]
    (version / MANIFEST).write_text(json.dumps(manifest))
    assert refusal(version) == "missing_file"


@pytest.mark.parametrize("key", ["optimizer.pt", "../secret.json", "/etc/hostname"])
def test_a_manifest_that_lists_other_files_is_refused(version: Path, key: str) -> None:
    (version.parent / "secret.json").write_text("{}")
    files = json.loads((version / MANIFEST).read_bytes())["files"]
    change_manifest(version, files={**files, key: {"sha256": sha256(b"{}").hexdigest(), "size": 2}})
    assert refusal(version) == "format"


@pytest.mark.parametrize("created", ["yesterday", "0001-01-01"])
def test_a_creation_time_that_is_not_a_time_is_refused(version: Path, created: str) -> None:
    change_manifest(version, created=created)
    assert refusal(version) == "format"


@pytest.mark.parametrize("name", ["", "../v1", "a b", "v1\n", "v" * 65])
def test_a_manifest_of_another_name_than_a_version_may_have_is_refused(version: Path, name: str) -> None:
    change_manifest(version, name=name)
    assert refusal(version) == "format"


def test_files_of_another_size_and_files_with_another_hash_are_told_apart(version: Path) -> None:
    original = (version / WEIGHTS).read_bytes()
    for content, reason, words in (
        (original[:-1], "size", f"has {len(original) - 1} bytes, the manifest says {len(original)}"),
        (original + b"!", "size", f"has more than the {len(original)} bytes that it may have"),
        (b"!" + original[1:], "hash", "has SHA-256"),
    ):
        (version / WEIGHTS).write_bytes(content)
        with pytest.raises(VersionRefused, match=words) as refused:
            read_files(str(version))
        assert refused.value.reason == reason


def test_of_an_endless_file_no_more_is_read_than_it_may_have(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    local = type(fsspec.filesystem("file"))
    opened = local.open

    class Counting:
        """A file that notes how many bytes it is asked for."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def read(self, size: int) -> bytes:
            asked.append(size)
            return bytes(self._file.read(size))

    monkeypatch.setattr(local, "open", lambda *arguments: Counting(opened(*arguments)))
    size = (version / METRICS).stat().st_size
    for key, most in ((METRICS, size), (MANIFEST, LARGEST_MANIFEST)):
        (version / key).unlink()
        (version / key).symlink_to("/dev/zero")
        assert refusal(version) == "size"
        assert asked[-1] == most + 1


def test_a_manifest_cannot_ask_for_more_bytes_than_a_version_has(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "LARGEST_VERSION", sum(map(len, CONTENTS.values())))
    assert read_files(str(version)).contents == CONTENTS
    monkeypatch.setattr(manifests, "LARGEST_VERSION", sum(map(len, CONTENTS.values())) - 1)
    assert refusal(version) == "size"
    files = json.loads((version / MANIFEST).read_bytes())["files"]
    files[METRICS]["size"] = -1  # read(-1 + 1) would be harmless, read(-2 + 1) has no bound
    change_manifest(version, files=files)
    assert refusal(version) == "format"


def test_what_is_written_beside_the_manifest_is_known_by_name() -> None:
    assert UNLISTED == ("card.md", "report.json", "last_seen.i64")


def test_storage_that_refuses_files_raises_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VersionNotSaved, match=r"file/v1 cannot be written"):
        publish(tmp_path / "file" / "v1")


def test_on_a_full_disk_nothing_is_left_of_a_version(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / VOCABULARY).symlink_to("/dev/full")
    with pytest.raises(VersionNotSaved, match="No space left on device"):
        publish(tmp_path / "v1")
    assert not (tmp_path / "v1").exists()


def test_a_crash_before_the_manifest_has_its_name_leaves_no_version(version: Path) -> None:
    (version / MANIFEST).rename(version / PARTIAL)
    assert refusal(version) == "missing_file"
    publish(version)
    assert read_files(str(version)).contents == CONTENTS


def test_a_version_is_not_written_over(version: Path) -> None:
    before = (version / MANIFEST).read_bytes()
    with pytest.raises(VersionNotSaved, match="already holds a version"):
        publish(version)
    assert (version / MANIFEST).read_bytes() == before
    assert read_files(str(version)).contents == CONTENTS


def test_storage_that_cannot_be_read_is_refused(version: Path) -> None:
    assert refusal("nowhere-at-all://versions/v1") == "unreadable"
    (version / METRICS).unlink()
    (version / METRICS).mkdir()
    assert refusal(version) == "unreadable"
