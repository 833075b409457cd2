"""Copies to a device hold what was copied, and only a GPU's go by way of pinned memory."""

from __future__ import annotations

from unittest.mock import patch

import torch

from model.kernels.cuda import all_on_device, on_device


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


def test_a_copy_to_the_processor_is_none() -> None:
    tensor = torch.ones(3)
    with patch.object(torch.Tensor, "pin_memory", side_effect=AssertionError):
        assert on_device(tensor, torch.device("cpu")) is tensor
