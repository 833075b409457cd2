"""A version of the model: a directory that never changes, on any storage that fsspec can reach.

weights.safetensors   the network's tensors, never a pickle
fusion.safetensors    what is served beside the network: item statistics of the log, weights of the combiner
config.json           sizes of the network, calibration, bins of prices, profiles of users, facts about the training
vocabulary.json       item ids in the order of rows
metrics.json          the figures of the evaluation
manifest.json         SHA-256 and size of the files above, written last
card.md, report.json  for people (`model/rounds/training_report.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import torch
from safetensors.torch import save as encode_weights
from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.data.contexts import CONTEXT_ROWS
from model.data.price_bins import NO_BINS, PriceBins
from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.fusion.fusion import Fusion
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors
from model.profile.profile import NO_PROFILE, Profile
from model.versions.fusion_file import check_fusion, decode_fusion, fusion_tensors
from model.versions.last_seen import encode_last_seen
from model.versions.manifest import (
    CONFIG,
    FORMAT,
    FORMAT_BEFORE,
    FUSION,
    METRICS,
    VOCABULARY,
    WEIGHTS,
    VersionFiles,
    decode,
    read_files,
    write,
)
from model.versions.previous_fusion_file import (
    check_previous_fusion,
    decode_previous_fusion,
    previous_fusion_tensors,
)


class _FusionFormat(NamedTuple):
    """How the fusion lies in a file of one format of versions."""

    tensors: Callable[[Fusion, Vocabulary], dict[str, Tensor]]
    check: Callable[[str, Mapping[str, Tensor], int], None]
    decode: Callable[[str, bytes, Vocabulary], Fusion]


_FUSION_FORMATS: Final = {
    FORMAT: _FusionFormat(fusion_tensors, check_fusion, decode_fusion),
    FORMAT_BEFORE: _FusionFormat(previous_fusion_tensors, check_previous_fusion, decode_previous_fusion),
}

Fact = str | int | float


class Config(msgspec.Struct, frozen=True):
    """The content of `config.json`."""

    network: NetworkConfig
    calibration: Calibration
    facts: dict[str, Fact]
    prices: dict[str, list[float]] = {}  # by currency where its bins begin: `PriceBins.edges`
    profile: Profile = NO_PROFILE


@dataclass(frozen=True, slots=True)
class VersionContents:
    """All that a version is made of."""

    name: str
    created: str  # RFC 3339
    network: Network
    vocabulary: Vocabulary
    calibration: Calibration
    fusion: Fusion
    metrics: dict[str, float]
    facts: dict[str, Fact]
    bins: PriceBins = field(default=NO_BINS, kw_only=True)  # which the network reads prices in
    profile: Profile = field(default=NO_PROFILE, kw_only=True)


@dataclass(frozen=True, slots=True)
class Version(VersionContents):
    """A saved version, read and verified: the network is on the CPU, in evaluation mode."""

    manifest_sha256: str


def save(
    path: str,
    version: VersionContents,
    for_people: Mapping[str, bytes] = MappingProxyType({}),
    *,
    number: int = FORMAT,
) -> str:
    """Writes a version of a format into the directory `path` and returns the SHA-256 of its manifest, in hex.

    Files `for_people` are not in the manifest, nor is that of when items were last seen; no worker reads these.
    Raises `VersionNotSaved` if there is a version already or the storage refuses the files,
    `VersionRefused` (not_finite, shape) for numbers that every worker would refuse.
    """
    network, vocabulary, calibration = version.network, version.vocabulary, version.calibration
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    fusion_format = _FUSION_FORMATS[number]
    of_fusion = fusion_format.tensors(version.fusion, vocabulary)
    fusion_format.check(version.name, of_fusion, len(vocabulary))
    numbers = torch.tensor([calibration.slope, calibration.intercept, *version.metrics.values()])
    check_finite(version.name, {**tensors, "calibration and metrics": numbers})
    times, fact = encode_last_seen(vocabulary.last_seen)
    prices = {name: list(starts) for name, starts in version.bins.edges.items()}
    config = Config(network.config, calibration, {**version.facts, **fact}, prices, version.profile)
    contents = {
        WEIGHTS: encode_weights(tensors),
        FUSION: encode_weights(of_fusion),
        CONFIG: msgspec.json.encode(config),
        VOCABULARY: msgspec.json.encode(vocabulary.items),
        METRICS: msgspec.json.encode(version.metrics),
    }
    unlisted = {**for_people, **times}
    return write(path, name=version.name, created=version.created, contents=contents, unlisted=unlisted, number=number)


def load(path: str, expected_manifest_sha256: str | None = None) -> Version:
    """Reads and verifies the version in the directory `path`. Raises `VersionRefused`."""
    return parse(read_files(path, expected_manifest_sha256))


def parse(files: VersionFiles) -> Version:
    """Makes a version of its files.

    Raises `VersionRefused`: format, for a file that is not what its name says; shape; not_finite.
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
        fusion=_FUSION_FORMATS[files.manifest.format].decode(path, contents[FUSION], vocabulary),
        metrics=decode(path, METRICS, contents[METRICS], dict[str, float]),
        facts=config.facts,
        bins=_bins(path, config.prices),
        profile=_profile(path, config.profile),
    )


def _bins(path: str, edges: Mapping[str, list[float]]) -> PriceBins:
    try:
        return PriceBins(edges)
    except ValueError as error:
        raise VersionRefused("format", f"{path}/{CONFIG}: {error}") from None


def _profile(path: str, profile: Profile) -> Profile:
    try:
        profile.check()
    except ValueError as error:
        raise VersionRefused("format", f"{path}/{CONFIG}: {error}") from None
    return profile


def _network(path: str, config: NetworkConfig, vocabulary: Vocabulary, content: bytes) -> Network:
    if config.items != len(vocabulary):
        raise VersionRefused("shape", f"{path}: the network has {config.items} items, the vocabulary {len(vocabulary)}")
    tensors = decode_tensors(path, WEIGHTS, content)
    network = _empty_network(path, config)
    check_shapes(path, tensors, network.state_dict())
    check_finite(path, tensors)
    _check_item_attributes(path, tensors["sides"])
    network.load_state_dict({key: tensor.clone() for key, tensor in tensors.items()}, assign=True)
    return network.eval()


def _check_item_attributes(path: str, attributes: Tensor) -> None:
    if len(attributes) and not 0 <= int(attributes.min()) <= int(attributes.max()) < CONTEXT_ROWS:
        raise VersionRefused("shape", f"{path}: an item's category or brand is not a row of 0 to {CONTEXT_ROWS - 1}")


class _SkipFilling(TorchFunctionMode):
    """Skips functions that fill a tensor, as tensors on the meta device have no numbers.

    PyTorch would check each of these calls all the same, and import SymPy for it, which takes a second and a half.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if _fills(function.__name__):
            return options.get("tensor", *args[:1])
        return (torch.empty if function is torch.eye else function)(*args, **options)


def _fills(name: str) -> bool:
    """Tells by its name whether a function works in place, as those of `torch.nn.init` do."""
    return name in ("__imul__", "__setitem__") or (name.endswith("_") and not name.endswith("__"))


def _empty_network(path: str, config: NetworkConfig) -> Network:
    """Makes a network without memory: the tensors of the file will be its parameters, none is drawn at random."""
    try:
        with torch.device("meta"), _SkipFilling():
            return Network(config)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise VersionRefused("shape", f"{path}: a network cannot have the sizes {config}: {error}") from error
