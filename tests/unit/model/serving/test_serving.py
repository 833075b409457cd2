"""Which versions a worker serves and which it refuses, before anything is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numba import typeof

from model.data.recent import RecentActions
from model.errors import VersionRefused
from model.fusion import fusion
from model.network.backbones import BackboneName
from model.search import catalogue, gpu_shortlist
from model.search.gpu_shortlist import GpuShortlists
from model.serving.served_ranking import NetworkAlone
from model.serving.serving import serve_files
from model.versions.manifest import VersionFiles, read_files
from model.versions.version import save
from tests.skips import not_installed
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


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device on which a version searches with the kernels of GPUs: where there is no GPU they are interpreted."""
    pytest.importorskip("triton", reason=not_installed("triton"))
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setattr(catalogue, "_fastest_search", lambda vectors, *_: GpuShortlists(vectors))
    return CPU


def test_a_version_that_searches_with_the_kernels_of_gpus_answers_the_same(
    tmp_path: Path, kernels: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path / "v1", "gru")
    _, searching = serve_files(files, hidden=HIDDEN, device=kernels, ranked_by="network")
    assert isinstance(searching.ranking, NetworkAlone)
    assert isinstance(searching.ranking.catalogue.shortlists, GpuShortlists)
    monkeypatch.undo()
    _, plain = serve_files(files, hidden=HIDDEN, device=CPU, ranked_by="network")
    nothing = RecentActions(
        np.zeros(0, np.int32),
        np.zeros(0, np.uint32),
        np.zeros(3, np.int64),
        np.zeros(3, np.int64),
        np.zeros(0, np.uint64),
    )
    vectors = torch.randn(3, plain.network.config.width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, wanted = searching.answer(vectors.to(kernels), nothing), plain.answer(vectors, nothing)
    np.testing.assert_array_equal(found.items, wanted.items)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=2e-3)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Failed to find C compiler.\nPlease specify"), "RuntimeError: Failed to find C compiler. Please"),
        (MemoryError("20 GiB"), "MemoryError: 20 GiB"),
        (ValueError("x" * 10_000), "ValueError: xxx"),
    ],
)
def test_a_version_whose_kernels_do_not_run_is_refused_in_one_short_line(
    tmp_path: Path, kernels: torch.device, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    """As every version is where Triton finds no compiler."""

    def fails() -> None:
        raise error

    monkeypatch.setattr(gpu_shortlist, "_kernels", fails)
    files = files_of(tmp_path / "v1", "gru")
    with pytest.raises(VersionRefused, match=rf"does not answer on {kernels}: {line}") as refused:
        serve_files(files, hidden=HIDDEN, device=kernels)
    assert refused.value.reason == "warm_up"
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000


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
