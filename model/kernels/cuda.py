"""What only a GPU needs: copies that the host does not wait for, and products in the precision of its tensor cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on a device; to a GPU it goes from pinned memory, which is copied while the host goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def all_on_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Returns tensors of one dimension on a device; a GPU gets them in one copy for each type of numbers."""
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    copies: list[Tensor] = list(tensors)
    for dtype in {tensor.dtype for tensor in tensors}:
        indices = [index for index, tensor in enumerate(tensors) if tensor.dtype == dtype]
        joined = on_device(torch.cat([tensors[index] for index in indices]), device)
        pieces = torch.split(joined, [len(tensors[index]) for index in indices])
        for index, piece in zip(indices, pieces, strict=True):
            copies[index] = piece
    return copies


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Has matrix products on a GPU read their factors rounded to TF32 (10 bits of mantissa) and add up in float32.

    Weights, gradients and all that is not a product stay in float32. Narrower factors (bfloat16, 7 bits) would move
    item logits, of up to 16, by 0.06. This is for training only: an exact ranking would find other items. Products on
    the CPU stay as they are; recurrences of cuDNN read TF32 in any case, which is PyTorch's default.
    """
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32 = before
