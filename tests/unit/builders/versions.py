"""Versions in a folder, and damage done to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as parse_weights
from safetensors.torch import save as encode_weights

from model.versions.manifest import MANIFEST, WEIGHTS
from model.versions.version import Fact, save
from stream_app.versions.promotions import VersionRef
from tests.unit.builders.basics import make_version


def save_version(
    path: Path,
    *,
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
    facts: Mapping[str, Fact] | None = None,
) -> VersionRef:
    """A small version under the name of its directory."""
    made = replace(make_version(name=path.name, seed=seed), metrics=dict(metrics or {}), facts=dict(facts or {}))
    digest = save(str(path), made)
    return VersionRef(version=path.name, manifest_sha256=digest)


def replace_file(path: Path, key: str, content: bytes) -> None:
    """Another content under a manifest that agrees with it, as a hostile publisher would make it."""
    (path / key).write_bytes(content)
    manifest = json.loads((path / MANIFEST).read_bytes())
    manifest["files"][key] = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    (path / MANIFEST).write_text(json.dumps(manifest))


def change_json(path: Path, key: str, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((path / key).read_bytes())
    change(content)
    replace_file(path, key, json.dumps(content).encode())


def change_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object], key: str = WEIGHTS) -> None:
    tensors = parse_weights((path / key).read_bytes())
    change(tensors)
    replace_file(path, key, encode_weights(tensors))


def cut_off(path: Path) -> None:
    """The last byte is missing."""
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    """The size stays."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


class Bomb:
    """What unpickles it runs it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
