"""A version of the model: a directory that never changes, on any place that fsspec can reach.

weights.safetensors   the network's tensors, never a pickle
fusion.safetensors    what is served beside the network: evidence of the log, weights of the combiner
config.json           sizes of the network, calibration, facts about the training
vocabulary.json       item ids in row order
metrics.json          what the evaluation found
manifest.json         SHA-256 and size of those above, written last
card.md, report.json  for people (`model/rounds/training_report.py`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import torch
from safetensors.torch import save as encode_weights
from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.data.contexts import CONTEXT_ROWS
from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.fusion.fusion import Fusion
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors
from model.versions.fusion_file import check_fusion, decode_fusion, fusion_tensors
from model.versions.manifest import (
    CONFIG,
    FUSION,
    METRICS,
    VOCABULARY,
    WEIGHTS,
    VersionFiles,
    decode,
    read_files,
    write,
)

Fact = str | int | float


class Config(msgspec.Struct, frozen=True):
    """Content of `config.json`."""

    network: NetworkConfig
    calibration: Calibration
    facts: dict[str, Fact]


@dataclass(frozen=True, slots=True)
class Version:
    """A verified version: the network on the CPU in evaluation mode, and all that belongs to it."""

    name: str
    created: str
    manifest_sha256: str
    network: Network
    vocabulary: Vocabulary
    calibration: Calibration
    fusion: Fusion
    metrics: dict[str, float]
    facts: dict[str, Fact]


def save(
    path: str,
    *,
    name: str,
    created: str,
    network: Network,
    vocabulary: Vocabulary,
    calibration: Calibration,
    fusion: Fusion,
    metrics: Mapping[str, float],
    facts: Mapping[str, Fact],
    for_people: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Writes a version into the directory `path` and returns the SHA-256 of its manifest, in hex.

    `created` is RFC 3339; files `for_people` are not in the manifest, and no worker reads them.
    Raises `VersionNotSaved` where a version is already or the place takes nothing,
    `VersionRefused` (not_finite, shape) for numbers that no worker would take.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    beside = fusion_tensors(fusion)
    check_fusion(name, beside, len(vocabulary))
    numbers = torch.tensor([calibration.slope, calibration.intercept, *metrics.values()])
    check_finite(name, {**tensors, "calibration and metrics": numbers})
    contents = {
        WEIGHTS: encode_weights(tensors),
        FUSION: encode_weights(beside),
        CONFIG: msgspec.json.encode(Config(network.config, calibration, dict(facts))),
        VOCABULARY: msgspec.json.encode(vocabulary.items),
        METRICS: msgspec.json.encode(dict(metrics)),
    }
    return write(path, name=name, created=created, contents=contents, for_people=for_people)


def load(path: str, expected_manifest_sha256: str | None = None) -> Version:
    """Reads and verifies the version in the directory `path`. Raises `VersionRefused`, as `read_files` and `parse`."""
    return parse(read_files(path, expected_manifest_sha256))


def parse(files: VersionFiles) -> Version:
    """The version that is in the files.

    Raises `VersionRefused`: format, of a file that is not what its name says; shape; not_finite.
    """
    path, contents = files.path, files.contents
    config = decode(path, CONFIG, contents[CONFIG], Config)
    vocabulary = Vocabulary(decode(path, VOCABULARY, contents[VOCABULARY], tuple[str, ...]))
    return Version(
        name=files.manifest.name,
        created=files.manifest.created,
        manifest_sha256=files.manifest_sha256,
        network=_network(path, config.network, vocabulary, contents[WEIGHTS]),
        vocabulary=vocabulary,
        calibration=config.calibration,
        fusion=decode_fusion(path, contents[FUSION], len(vocabulary)),
        metrics=decode(path, METRICS, contents[METRICS], dict[str, float]),
        facts=config.facts,
    )


def _network(path: str, config: NetworkConfig, vocabulary: Vocabulary, content: bytes) -> Network:
    if config.items != len(vocabulary):
        raise VersionRefused("shape", f"{path}: the network has {config.items} items, the vocabulary {len(vocabulary)}")
    tensors = decode_tensors(path, WEIGHTS, content)
    network = _empty_network(path, config)
    check_shapes(path, tensors, network.state_dict())
    check_finite(path, tensors)
    _check_sides(path, tensors["sides"])
    network.load_state_dict({key: tensor.clone() for key, tensor in tensors.items()}, assign=True)
    return network.eval()


def _check_sides(path: str, sides: Tensor) -> None:
    if len(sides) and not 0 <= int(sides.min()) <= int(sides.max()) < CONTEXT_ROWS:
        raise VersionRefused("shape", f"{path}: an item's category or brand is none of the {CONTEXT_ROWS} there are")


class _Unfilled(TorchFunctionMode):
    """Leaves out what fills a tensor: one without memory has no numbers. PyTorch would check each such step all the
    same, and import SymPy for it, which takes a second and a half."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if _fills(function.__name__):
            return options.get("tensor", *args[:1])
        return (torch.empty if function is torch.eye else function)(*args, **options)


def _fills(name: str) -> bool:
    """Whether a function of this name works in place, as those of `torch.nn.init` do."""
    return name in ("__imul__", "__setitem__") or (name.endswith("_") and not name.endswith("__"))


def _empty_network(path: str, config: NetworkConfig) -> Network:
    """A network without memory: the tensors of the file will be its parameters, none is drawn at random."""
    try:
        with torch.device("meta"), _Unfilled():
            return Network(config)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise VersionRefused("shape", f"{path}: no network has the sizes {config}: {error}") from error
