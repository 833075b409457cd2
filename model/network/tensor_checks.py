"""Tensors from a file of a version, checked before anything computes with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from model.errors import VersionRefused


def decode_tensors(path: str, key: str, content: bytes) -> dict[str, Tensor]:
    """The tensors by name. Raises `VersionRefused` (format)."""
    try:
        return load(content)
    except SafetensorError as error:
        raise VersionRefused("format", f"{path}/{key} is not in safetensors format: {error}") from error


def check_shapes(path: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Names, shapes and types must be those of the expected. Raises `VersionRefused` (shape)."""
    found = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    wanted = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in expected.items()}
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise VersionRefused(
                "shape", f"{path}: tensor {key} is {found.get(key)}, this nextact needs {wanted.get(key)}"
            )


def check_finite(path: str, tensors: Mapping[str, Tensor]) -> None:
    """All numbers must be some. Raises `VersionRefused` (not_finite)."""
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise VersionRefused("not_finite", f"{path}: {key} holds NaN or infinity")
