"""Which versions a worker serves and which it refuses, before anything is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba import typeof

from model.errors import VersionRefused
from model.fusion import fusion
from model.network.backbones import BackboneName
from model.serving.serving import serve_files
from model.versions.manifest import VersionFiles, read_files
from model.versions.version import save
from tests.unit.builders.basics import BACKBONES, CPU, HIDDEN, make_states, make_version
from tests.unit.builders.engines import Engines, view


def files_of(path: Path, backbone: BackboneName) -> VersionFiles:
    return read_files(str(path), save(str(path), make_version(backbone=backbone)))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_version_of_the_workers_state_size_is_served(tmp_path: Path, backbone: BackboneName) -> None:
    _, serving = serve_files(files_of(tmp_path / "v1", backbone), hidden=HIDDEN, device=CPU)
    assert serving.network.config.backbone == backbone


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_version_of_another_state_size_is_refused(tmp_path: Path, backbone: BackboneName) -> None:
    with pytest.raises(
        VersionRefused, match=rf"of {HIDDEN} numbers, the workers keep 64 \(NEXTACT_HIDDEN\)"
    ) as refused:
        serve_files(files_of(tmp_path / "v1", backbone), hidden=64, device=CPU)
    assert refused.value.reason == "shape"


def test_a_batch_compiles_nothing_once_a_version_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, rank = [], fusion._rank

    def recorded(*arguments: object) -> None:
        kinds.append([typeof(argument) for argument in arguments])
        rank(*arguments)

    monkeypatch.setattr(fusion, "_rank", recorded)
    _, serving = serve_files(files_of(tmp_path / "v1", "gru"), hidden=HIDDEN, device=CPU)
    engines = Engines(make_states(), rules_share=0, serving=serving)
    assert len(kinds) == 1
    engines.advance([view(0), view(1, "b"), view(2)])
    engines.advance([view(3), view(4, "c")])
    assert len(kinds) == 3
    assert kinds[0] == kinds[1] == kinds[2]
