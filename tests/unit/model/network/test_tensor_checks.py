"""Tensors from a file: whatever differs from what is expected is refused, with the tensor's name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from model.errors import VersionRefused
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors

EXPECTED = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int64)}


def test_tensors_come_back_from_their_file() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    decoded = decode_tensors("v", "weights", save(tensors))
    assert decoded.keys() == tensors.keys()
    assert all(torch.equal(decoded[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("content", [b"", b"\x80\x04]", b"\xff" * 64, save({"a": torch.zeros(3)})[:-1]])
def test_another_format_is_refused_with_the_files_name(content: bytes) -> None:
    with pytest.raises(VersionRefused, match=r"v/weights is not in safetensors format") as refused:
        decode_tensors("v", "weights", content)
    assert refused.value.reason == "format"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"a": torch.zeros(3, 2)}, "a"),
        ({"b": torch.zeros(4)}, "b"),
        ({"c": torch.zeros(1)}, "c"),
        ({"a": torch.zeros(2, 3, dtype=torch.float64)}, "a"),
    ],
)
def test_another_shape_kind_or_name_is_refused(changed: dict[str, Tensor], name: str) -> None:
    check_shapes("v", EXPECTED, EXPECTED)
    with pytest.raises(VersionRefused, match=f"v: tensor {name} is ") as refused:
        check_shapes("v", EXPECTED | changed, EXPECTED)
    assert refused.value.reason == "shape"


def test_a_missing_tensor_is_refused() -> None:
    with pytest.raises(VersionRefused, match="tensor b is None"):
        check_shapes("v", {"a": EXPECTED["a"]}, EXPECTED)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    check_finite("v", EXPECTED)
    with pytest.raises(VersionRefused, match="v: a holds NaN or infinity") as refused:
        check_finite("v", EXPECTED | {"a": torch.tensor([1.0, number])})
    assert refused.value.reason == "not_finite"
