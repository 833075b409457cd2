"""Checkpoints of fits: what was written comes back, what is damaged does not, and other rounds' are deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.training.checkpoints import NO_CHECKPOINTS, Checkpoint, Checkpoints, fingerprint_of

TENSORS = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "step": torch.tensor(3.0)}
METADATA = {"epochs": 2, "big": 2**100, "rate": 0.1 + 0.2}


def saved_in(folder: Path) -> tuple[Checkpoint, Path, list[str]]:
    """Saves a checkpoint; returns it, its file and the lines of its messages."""
    lines: list[str] = []
    checkpoint = Checkpoint(folder / "fit-1.safetensors", lines.append)
    checkpoint.save(TENSORS, METADATA)
    return checkpoint, folder / "fit-1.safetensors", lines


def test_what_was_saved_last_comes_back(tmp_path: Path) -> None:
    checkpoint, _, lines = saved_in(tmp_path)
    checkpoint.save(TENSORS | {"a": torch.ones(2)}, METADATA | {"epochs": 3})
    contents = checkpoint.load()
    assert contents is not None
    assert contents.metadata == METADATA | {"epochs": 3}
    assert torch.equal(contents.tensors["a"], torch.ones(2))
    assert torch.equal(contents.tensors["step"], TENSORS["step"])
    assert lines == []
    assert [path.name for path in tmp_path.iterdir()] == ["fit-1.safetensors"]


def flip(path: Path) -> None:
    """Changes the last number of the tensors, which no format notices."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "another number in the metadata": lambda path: path.write_bytes(
        path.read_bytes().replace(b'epochs\\": 2', b'epochs\\": 1')
    ),
    "half": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "no safetensors": lambda path: path.write_bytes(b"x" * 500),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_dropped_with_a_message(tmp_path: Path, how: str) -> None:
    checkpoint, path, lines = saved_in(tmp_path)
    before = path.read_bytes()
    DAMAGE[how](path)
    assert path.read_bytes() != before
    assert checkpoint.load() is None
    assert len(lines) == 1
    assert f"checkpoint {path} is dropped, its fit begins from scratch" in lines[0]
    assert not path.exists()


def test_a_folder_that_cannot_be_written_costs_the_checkpoints_and_not_the_round(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file" / "fits", lines.append)
    checkpoints.begin("one")
    checkpoint = checkpoints.next()
    assert checkpoint is not None
    checkpoint.save(TENSORS, METADATA)
    assert checkpoint.load() is None
    assert "no checkpoints, the round goes on without them" in lines[0]
    assert "cannot be written, the round goes on without it" in lines[1]


def test_a_round_finds_its_own_checkpoints_and_deletes_those_of_another(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "fits")
    for fingerprint, is_own in (("one", False), ("one", True), ("two", False), ("two", True)):
        checkpoints.begin(fingerprint)
        first, second = checkpoints.next(), checkpoints.next()
        assert first is not None
        assert second is not None
        assert (first.load() is not None, second.load() is not None) == (False, is_own)
        second.save(TENSORS, METADATA)
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_saved() -> None:
    NO_CHECKPOINTS.begin("one")
    assert NO_CHECKPOINTS.next() is None


def test_a_fingerprint_depends_on_all_that_it_is_given() -> None:
    different = [
        fingerprint_of(("a", 1), ["x", "y"]),
        fingerprint_of(("a", 2), ["x", "y"]),
        fingerprint_of(("a", 1), ["xy"]),
        fingerprint_of(("a", 1), ["y", "x"]),
    ]
    assert len(set(different)) == 4
    assert fingerprint_of(("a", 1), ["x", "y"]) == different[0]
