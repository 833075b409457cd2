"""Where the model runs."""

from __future__ import annotations

import torch

from stream_app.errors import RuntimeMissing, SettingsInvalid


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU when there is one. Raises `SettingsInvalid` or `RuntimeMissing` for what cannot be."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsInvalid(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsInvalid(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RuntimeMissing(
            f"device is {name!r}, but PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
            "set NEXTACT_DEVICE=cpu or auto"
        )
    return device
