"""A version of the model: a directory that never changes, on any place that fsspec can reach.

    weights.safetensors   tensors, never a pickle
    config.json           sizes of the network, calibration, facts about the training
    vocabulary.json       item ids in row order
    metrics.json          what the evaluation found
    manifest.json         SHA-256 and size of the others, written last

A directory without a manifest is not a version, and the hash of the manifest stands for all of its bytes.
Bytes are compared with their hashes before anything parses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

import fsspec
import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as encode_weights
from torch import Tensor

from model.calibration import Calibration
from model.errors import NextactError, VersionRefused
from model.network import Network, NetworkConfig
from model.vocabulary import Vocabulary

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"
CONFIG: Final = "config.json"
VOCABULARY: Final = "vocabulary.json"
METRICS: Final = "metrics.json"
FILES: Final = (WEIGHTS, CONFIG, VOCABULARY, METRICS)

Fact = str | int | float
T = TypeVar("T")


class _File(msgspec.Struct, frozen=True):
    sha256: str
    size: int


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    name: str
    created: str
    files: dict[str, _File]


class _Format(msgspec.Struct, frozen=True):
    """The one field of a manifest that every format has."""

    format: int


class _Config(msgspec.Struct, frozen=True):
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
    metrics: Mapping[str, float],
    facts: Mapping[str, Fact],
) -> str:
    """Writes a version into the directory `path` and returns the SHA-256 of its manifest, in hex.

    `created` is RFC 3339. Raises `NextactError` where a version is already, `VersionRefused` (not_finite) for
    numbers that no worker would take.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    numbers = torch.tensor([calibration.slope, calibration.intercept, *metrics.values()])
    _check_finite(name, {**tensors, "calibration and metrics": numbers})
    contents = {
        WEIGHTS: encode_weights(tensors),
        CONFIG: msgspec.json.encode(_Config(network.config, calibration, dict(facts))),
        VOCABULARY: msgspec.json.encode(vocabulary.items),
        METRICS: msgspec.json.encode(dict(metrics)),
    }
    files = {key: _File(sha256(content).hexdigest(), len(content)) for key, content in contents.items()}
    manifest = msgspec.json.encode(_Manifest(FORMAT, name, created, files))
    _write(path, contents, manifest)
    return sha256(manifest).hexdigest()


def load(path: str, expected_manifest_sha256: str | None = None) -> Version:
    """Reads and verifies the version in the directory `path`.

    Raises `VersionRefused`: missing_file; unreadable, of the place; hash, when any byte differs from the
    manifest or the manifest from `expected_manifest_sha256`; format, newer or not what the file's name says;
    shape; not_finite.
    """
    content = _read(path, MANIFEST)
    digest = sha256(content).hexdigest()
    if expected_manifest_sha256 not in (None, digest):
        raise VersionRefused(
            "hash",
            f"{path}/{MANIFEST} has SHA-256 {digest}, announced was {expected_manifest_sha256}: "
            "it was changed or is another version; publish the version again",
        )
    manifest = _manifest(path, content)
    contents = {key: _verified(path, key, manifest) for key in FILES}
    config = _decode(path, CONFIG, contents[CONFIG], _Config)
    vocabulary = Vocabulary(_decode(path, VOCABULARY, contents[VOCABULARY], tuple[str, ...]))
    return Version(
        name=manifest.name,
        created=manifest.created,
        manifest_sha256=digest,
        network=_network(path, config.network, vocabulary, contents[WEIGHTS]),
        vocabulary=vocabulary,
        calibration=config.calibration,
        metrics=_decode(path, METRICS, contents[METRICS], dict[str, float]),
        facts=config.facts,
    )


def _write(path: str, contents: Mapping[str, bytes], manifest: bytes) -> None:
    files, root = fsspec.core.url_to_fs(path)
    if files.exists(f"{root}/{MANIFEST}"):
        raise NextactError(f"{path} already holds a version; a version never changes: choose a new name")
    files.makedirs(root, exist_ok=True)
    for key, content in contents.items():
        files.pipe_file(f"{root}/{key}", content)
    # Moved into place whole, so that a crash in the middle leaves no half of a manifest.
    files.pipe_file(f"{root}/{MANIFEST}.partial", manifest)
    files.mv(f"{root}/{MANIFEST}.partial", f"{root}/{MANIFEST}")


def _read(path: str, key: str) -> bytes:
    try:
        files, root = fsspec.core.url_to_fs(path)
        content: bytes = files.cat_file(f"{root}/{key}")
    except FileNotFoundError as error:
        raise VersionRefused("missing_file", f"{path} has no {key}: the version is not complete") from error
    except Exception as error:  # every kind of storage raises errors of its own
        raise VersionRefused("unreadable", f"{path}/{key} cannot be read: {error!r}") from error
    return content


def _manifest(path: str, content: bytes) -> _Manifest:
    found = _decode(path, MANIFEST, content, _Format).format
    if found != FORMAT:
        raise VersionRefused(
            "format",
            f"{path} has format {found}, this nextact reads format {FORMAT}: update the workers first",
        )
    return _decode(path, MANIFEST, content, _Manifest)


def _verified(path: str, key: str, manifest: _Manifest) -> bytes:
    """The bytes of a file, which are the ones that the manifest means."""
    listed = manifest.files.get(key)
    if listed is None:
        raise VersionRefused("missing_file", f"the manifest of {path} does not list {key}")
    content = _read(path, key)
    digest = sha256(content).hexdigest()
    if (len(content), digest) != (listed.size, listed.sha256):
        raise VersionRefused(
            "hash",
            f"{path}/{key} has {len(content)} bytes with SHA-256 {digest}, the manifest says {listed.size} "
            f"with {listed.sha256}: it was truncated or changed; publish the version again",
        )
    return content


def _decode(path: str, key: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise VersionRefused("format", f"{path}/{key} is not what nextact writes: {error}") from error


def _network(path: str, config: NetworkConfig, vocabulary: Vocabulary, content: bytes) -> Network:
    if config.items != len(vocabulary):
        raise VersionRefused("shape", f"{path}: the network has {config.items} items, the vocabulary {len(vocabulary)}")
    try:
        tensors = parse_weights(content)
    except SafetensorError as error:
        raise VersionRefused("format", f"{path}/{WEIGHTS} is not in safetensors format: {error}") from error
    network = _empty_network(path, config)
    _check_shapes(path, tensors, network.state_dict())
    _check_finite(path, tensors)
    network.load_state_dict({key: tensor.clone() for key, tensor in tensors.items()}, assign=True)
    return network.eval()


def _empty_network(path: str, config: NetworkConfig) -> Network:
    """A network without memory: the tensors of the file will be its parameters, none is drawn at random."""
    try:
        with torch.device("meta"):
            return Network(config)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise VersionRefused("shape", f"{path}: no network has the sizes {config}: {error}") from error


def _check_shapes(path: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Any]) -> None:
    found = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    wanted = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in expected.items()}
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise VersionRefused(
                "shape", f"{path}: tensor {key} is {found.get(key)}, the network needs {wanted.get(key)}"
            )


def _check_finite(path: str, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise VersionRefused("not_finite", f"{path}: {key} holds NaN or infinity")
