"""Versions: what is saved comes back, and every kind of damage is refused for its own reason."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.price_bins import NO_BINS, PriceBins
from model.data.vocabulary import Vocabulary
from model.errors import NextactError, VersionRefused
from model.network.backbones import BackboneName
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.versions.manifest import CONFIG, FILES, FUSION, MANIFEST, METRICS, VOCABULARY, WEIGHTS
from model.versions.version import VersionContents, load, save
from tests.unit.builders.basics import BACKBONES, make_fusion
from tests.unit.builders.versions import Bomb, change_json, change_weights, replace_file

ITEMS = ("apple", "pear", "plum")


def publish(path: str, network: Network | None = None, bins: PriceBins = NO_BINS) -> str:
    contents = VersionContents(
        name="v1",
        created="2026-01-02T03:04:05Z",
        network=network or Network(NetworkConfig(items=len(ITEMS), width=8, hidden=6)),
        vocabulary=Vocabulary(ITEMS),
        calibration=Calibration(0.5, -1.25),
        fusion=make_fusion(Vocabulary(ITEMS)),
        metrics={"recall@20": 0.25},
        facts={"seed": 7, "source": "shop.events", "share": 0.1},
        bins=bins,
    )
    return save(path, contents)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    publish(str(tmp_path / "v1"))
    return tmp_path / "v1"


def refusal(path: Path | str, expected: str | None = None) -> str:
    with pytest.raises(VersionRefused) as refused:
        load(str(path), expected)
    return refused.value.reason


def test_a_version_is_loaded_without_what_takes_seconds_to_import(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    load(str(version))


@pytest.mark.parametrize("address", ["{tmp}/versions/v1", "memory://versions/v1"])
def test_what_is_saved_comes_back(tmp_path: Path, address: str) -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=8, hidden=6))
    path = address.format(tmp=tmp_path)
    digest = publish(path, network)
    found = load(path, digest)
    assert (found.name, found.created, found.manifest_sha256) == ("v1", "2026-01-02T03:04:05Z", digest)
    assert (found.vocabulary.items, found.calibration) == (ITEMS, Calibration(0.5, -1.25))
    assert found.metrics == {"recall@20": 0.25}
    assert found.facts == {"seed": 7, "source": "shop.events", "share": 0.1}
    assert not found.network.training
    assert found.network.config == network.config
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, found.network.state_dict()[key])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_answers_as_it_did_before_it_was_saved(tmp_path: Path, backbone: BackboneName) -> None:
    network = Network(NetworkConfig(items=len(ITEMS), backbone=backbone, width=8, hidden=6)).eval()
    found = load(str(tmp_path / "v1"), publish(str(tmp_path / "v1"), network)).network
    tokens = Vocabulary(ITEMS).tokens(np.arange(1, 6, dtype=np.uint64)[None], np.zeros((1, 5), np.uint32))
    with torch.inference_mode():
        assert torch.equal(found(tokens)[1], network(tokens)[1])


def test_price_bins_come_back_and_a_version_without_any_has_todays(tmp_path: Path) -> None:
    bins = PriceBins({"EUR": range(14), "": [0.1] * 14})
    load_path = str(tmp_path / "v1")
    publish(load_path, bins=bins)
    assert load(load_path).bins == bins
    publish(str(tmp_path / "v2"))
    config = json.loads((tmp_path / "v2" / CONFIG).read_bytes())
    del config["prices"]  # as versions of before
    replace_file(tmp_path / "v2", CONFIG, json.dumps(config).encode())
    assert load(str(tmp_path / "v2")).bins == NO_BINS


@pytest.mark.parametrize("prices", [{"EUR": [1.0]}, {"EUR": [2.0, 1.0] * 7}, {"EUR": [None] * 14}, [], {"EUR": 3}])
def test_price_bins_that_are_none_are_refused(version: Path, prices: object) -> None:
    config = json.loads((version / CONFIG).read_bytes()) | {"prices": prices}
    replace_file(version, CONFIG, json.dumps(config).encode())
    assert refusal(version) == "format"


def test_a_version_of_before_has_the_words_that_it_had(version: Path) -> None:
    config = json.loads((version / CONFIG).read_bytes())
    del config["network"]["word_rows"]
    replace_file(version, CONFIG, json.dumps(config).encode())
    assert load(str(version)).network.config.word_rows == 4_096


@pytest.mark.parametrize("rows", [0, 1, -5, 4_097, 2**60, "x"])
def test_a_number_of_words_that_no_network_has_is_refused(version: Path, rows: int) -> None:
    config = json.loads((version / CONFIG).read_bytes())
    config["network"]["word_rows"] = rows
    replace_file(version, CONFIG, json.dumps(config).encode())
    assert refusal(version) == "format"


def test_words_that_the_weights_do_not_have_are_refused(version: Path) -> None:
    config = json.loads((version / CONFIG).read_bytes())
    config["network"]["word_rows"] = 65_536
    replace_file(version, CONFIG, json.dumps(config).encode())
    assert refusal(version) == "shape"


@pytest.mark.parametrize("backbone", ["quantum", "transformer"])
def test_a_backbone_that_is_not_known_is_refused_by_name(version: Path, backbone: str) -> None:
    replace_file(version, CONFIG, (version / CONFIG).read_bytes().replace(b'"gru"', f'"{backbone}"'.encode()))
    with pytest.raises(VersionRefused, match=f"config.json is not what nextact writes: .*'{backbone}'") as refused:
        load(str(version))
    assert refused.value.reason == "format"


def test_a_version_never_changes(version: Path) -> None:
    before = (version / WEIGHTS).read_bytes()
    with pytest.raises(NextactError, match="already"):
        publish(str(version))
    assert (version / WEIGHTS).read_bytes() == before


def test_a_directory_without_a_manifest_is_not_a_version_and_can_be_written_again(version: Path) -> None:
    (version / MANIFEST).unlink()
    assert refusal(version) == "missing_file"
    publish(str(version))
    load(str(version))


def test_nan_is_not_saved(tmp_path: Path) -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=8, hidden=6))
    with torch.no_grad():
        network.next_type.weight[0, 0] = float("nan")
    with pytest.raises(VersionRefused, match=r"next_type\.weight"):
        publish(str(tmp_path / "v"), network)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("key", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(version: Path, key: str) -> None:
    (version / key).unlink()
    assert refusal(version) == "missing_file"


@pytest.mark.parametrize("key", FILES)
def test_a_truncated_or_changed_file_is_refused_before_it_is_parsed(version: Path, key: str) -> None:
    content = (version / key).read_bytes()
    (version / key).write_bytes(content[:-1])
    assert refusal(version) == "size"
    (version / key).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert refusal(version) == "hash"


@pytest.mark.parametrize("key", [WEIGHTS, FUSION])
def test_a_pickle_is_refused_and_not_opened(version: Path, tmp_path: Path, key: str) -> None:
    replace_file(version, key, pickle.dumps(Bomb()))
    assert refusal(version) == "format"
    torch.save({"items.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    replace_file(version, key, (tmp_path / "weights.pt").read_bytes())
    assert refusal(version) == "format"


def test_a_pickle_beside_the_files_is_not_opened(version: Path) -> None:
    (version / "optimizer.pt").write_bytes(pickle.dumps(Bomb()))
    load(str(version))


@pytest.mark.parametrize(("key", "content"), [(CONFIG, b"{}"), (VOCABULARY, b"[1]"), (METRICS, b'{"a":null}')])
def test_json_of_another_kind_is_refused(version: Path, key: str, content: bytes) -> None:
    replace_file(version, key, content)
    assert refusal(version) == "format"


def test_tensors_of_another_shape_kind_or_name_are_refused(version: Path) -> None:
    change_weights(version, lambda tensors: tensors.update({"items.weight": torch.zeros(5, 8)}))
    assert refusal(version) == "shape"


def test_tensors_of_another_precision_are_refused(version: Path) -> None:
    change_weights(version, lambda tensors: tensors.update({"purchase.bias": torch.zeros(1).double()}))
    assert refusal(version) == "shape"


def test_a_missing_tensor_is_refused(version: Path) -> None:
    change_weights(version, lambda tensors: tensors.pop("purchase.bias"))
    assert refusal(version) == "shape"


@pytest.mark.parametrize("sizes", [{"width": 16}, {"width": 0}, {"hidden": -1}, {"items": 10**12}])
def test_sizes_that_do_not_fit_are_refused(version: Path, sizes: dict[str, int]) -> None:
    def change(config: dict[str, object]) -> None:
        network = config["network"]
        assert isinstance(network, dict)
        network.update(sizes)

    change_json(version, CONFIG, change)
    assert refusal(version) == "shape"


def test_a_vocabulary_of_another_length_is_refused(version: Path) -> None:
    replace_file(version, VOCABULARY, json.dumps([*ITEMS, "quince"]).encode())
    assert refusal(version) == "shape"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(version: Path, number: float) -> None:
    change_weights(version, lambda tensors: tensors["backbone.gru.bias_hh_l0"].fill_(number))
    assert refusal(version) == "not_finite"


@pytest.mark.parametrize("row", [-1, 2**40])
def test_a_category_that_is_not_a_row_is_refused_before_it_is_looked_up(version: Path, row: int) -> None:
    change_weights(version, lambda tensors: tensors["sides"].fill_(row))
    assert refusal(version) == "shape"
