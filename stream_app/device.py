"""Chooses the device on which the model runs, and handles one that does not work.

After an error on a device its memory cannot be trusted, so an error in a step ends the process like any other. Only at
the start, when nothing has been computed yet, may the CPU stand in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from stream_app.errors import DeviceUnusable, SettingsInvalid

logger: Final = logging.getLogger(__name__)

CPU: Final = torch.device("cpu")
_REMEDY: Final = "set NEXTACT_DEVICE=cpu, or NEXTACT_DEVICE_FALLBACK=true so that the CPU stands in"


def choose_device(name: str, *, fallback: bool = False) -> torch.device:
    """Returns the device of this name; `auto` is a GPU if there is one. With `fallback` the CPU replaces a missing GPU.

    Raises `SettingsInvalid` for any other name, `DeviceUnusable` for a missing GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsInvalid(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsInvalid(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        missing = DeviceUnusable(
            f"device is {name!r}, but PyTorch sees {torch.cuda.device_count()} CUDA devices here; {_REMEDY}"
        )
        return cpu_fallback(missing, fallback=fallback)
    return device


def cpu_fallback(error: DeviceUnusable, *, fallback: bool) -> torch.device:
    """Returns the CPU instead of a device that cannot be used, with a warning; raises the error without `fallback`."""
    if not fallback:
        raise error
    logger.warning("%s. The CPU stands in, as NEXTACT_DEVICE_FALLBACK says", error)
    return CPU


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Turns what a GPU raises at its first use into `DeviceUnusable`; an error on the CPU stays as it is."""
    try:
        yield
    except RuntimeError as error:  # PyTorch's errors of devices are RuntimeErrors, out of memory too
        if device.type == "cpu":
            raise
        raise DeviceUnusable(f"device {str(device)!r} failed a first step: {error}; {_REMEDY}") from error


def check_device(device: torch.device) -> None:
    """Computes a little on a device. Raises `DeviceUnusable` where it does not work any more: after some errors CUDA
    refuses all that the process asks for, and only a new process gets the device back."""
    try:
        if float(torch.ones(8, device=device).sum()) == 8.0:
            return
        problem = "it adds wrongly"
    except RuntimeError as error:
        problem = str(error).strip().partition("\n")[0]
    raise DeviceUnusable(f"device {str(device)!r} does not work in this process any more: {problem}; start it again")


def hint(error: BaseException) -> str | None:
    """Returns what to do about a device's error in a step, or None if the error is not a device's."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has too little memory: lower NEXTACT_BATCH_SIZE or NEXTACT_HIDDEN, or set NEXTACT_DEVICE=cpu"
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        return "the device failed: the next start tries it again; with NEXTACT_DEVICE_FALLBACK=true the CPU stands in"
    return None
