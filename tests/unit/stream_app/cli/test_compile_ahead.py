"""What is compiled ahead: where it goes, what is said. That nothing is missing: `integration/test_cold_start`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.cli import compile_ahead
from stream_app.cli.compile_ahead import CompiledFolder, compile_all
from stream_app.errors import SettingsInvalid
from stream_app.settings import Settings


@pytest.mark.parametrize(("folder", "said"), [("", "NEXTACT_CACHE_DIR or --cache-dir"), ("file/below", "file/below")])
def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_compiled(
    folder: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    with pytest.raises(SettingsInvalid, match=said):
        compile_all(Settings(cache_dir=folder), lines.append)
    assert lines == []


def test_a_folder_is_told_by_its_loops_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "numba" / "kernels_1").mkdir(parents=True)
    for name, size in (("a.1.nbc", 3), ("a.2.nbc", 4), ("a.nbi", 100)):
        (tmp_path / "numba" / "kernels_1" / name).write_bytes(b"0" * size)
    assert CompiledFolder.of(tmp_path) == CompiledFolder(tmp_path, loops=2, size=7)


def test_all_is_called_and_said_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_ahead, "EVENTS", 1_200)
    monkeypatch.setattr(compile_ahead, "_LARGE", 300)
    lines: list[str] = []
    compile_all(Settings(cache_dir=str(tmp_path / "made"), hidden=16), lines.append)
    said = "\n".join(lines)
    assert (tmp_path / "made").is_dir()
    for words in (
        "without a version",
        "round 2 of training, linear",
        " items, gru, network-and-log",
        "linear, network",
    ):
        assert words in said
