"""Checks of tensors from a version's file, made before anything computes with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from model.errors import VersionRefused


def decode_tensors(path: str, key: str, content: bytes) -> dict[str, Tensor]:
    """Decodes a file into tensors by name. Raises `VersionRefused` (format)."""
    try:
        return load(content)
    except SafetensorError as error:
        raise VersionRefused("format", f"{path}/{key} is not in safetensors format: {error}") from error


def check_shapes(path: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises `VersionRefused` (shape) unless names, shapes and types are the expected ones."""
    actual, wanted = _kinds(tensors), _kinds(expected)
    for key in sorted(actual.keys() | wanted.keys()):
        if actual.get(key) != wanted.get(key):
            raise VersionRefused(
                "shape", f"{path}: tensor {key} is {actual.get(key)}, this nextact needs {wanted.get(key)}"
            )


def check_finite(path: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises `VersionRefused` (not_finite) if a number is NaN or infinite."""
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise VersionRefused("not_finite", f"{path}: {key} holds NaN or infinity")


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
