"""Copies to a device hold what was copied, only a GPU's use pinned memory, and TF32 is switched back."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import patch

import torch

from model.kernels.cuda import all_on_device, on_device, tensor_cores


def test_what_is_copied_is_the_same_there(device: torch.device) -> None:
    tensor = torch.arange(12).view(3, 4).T  # not contiguous
    there = on_device(tensor, device)
    assert there.device.type == device.type
    assert torch.equal(there.cpu(), tensor)
    assert on_device(there, device) is there


def test_several_are_copied_together(device: torch.device) -> None:
    tensors = [torch.arange(3), torch.rand(2), torch.arange(0), torch.tensor([True, False]), torch.arange(4)]
    there = all_on_device(tensors, device)
    assert {tensor.device.type for tensor in there} == {device.type}
    for here, copied in zip(tensors, there, strict=True):
        assert copied.dtype == here.dtype
        assert torch.equal(copied.cpu(), here)


def test_a_tensor_on_the_cpu_is_not_copied_to_the_cpu() -> None:
    tensor = torch.ones(3)
    with patch.object(torch.Tensor, "pin_memory", side_effect=AssertionError):
        assert on_device(tensor, torch.device("cpu")) is tensor


def rounded() -> bool:
    """Whether a GPU's products read their factors rounded to TF32."""
    return bool(torch.backends.cuda.matmul.allow_tf32)


def test_products_are_rounded_inside_only_whatever_happens() -> None:
    assert not rounded()
    with tensor_cores():
        assert rounded()
    assert not rounded()
    with suppress(ZeroDivisionError), tensor_cores():
        _ = 1 / 0
    assert not rounded()
