"""What fits save after every epoch, so that a round that was interrupted resumes instead of beginning from scratch.

After every epoch a fit saves all that its rest depends on: the network, the optimizer's moments, the position in the
schedule, the states of the random generators and the losses so far. Every fit of a round has a file, which each epoch
replaces in one step, and keeps it when it has ended. What a round computes between its fits (the combiner, the purchase
head, the verdict) follows from them and its seed, and is computed again. So on a CPU an interrupted round gives the
same weights as one that was not.

The files belong to one round, known by its fingerprint: of the log, the champion and the configuration. A round with
another fingerprint deletes them. They are safetensors with JSON in the metadata, and a SHA-256 of both: a damaged file
is dropped, and its fit begins from scratch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT: Final = 2  # raise it when a fit saves something else
_FINGERPRINT: Final = "fingerprint"  # file name
_METADATA: Final = "facts"  # key in a file
_DIGEST: Final = "sha256"  # key in a file

Metadata = dict[str, Any]  # what JSON can hold


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """What was saved after an epoch."""

    tensors: Mapping[str, Tensor]
    metadata: Metadata


class Checkpoint:
    """The file of one fit."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell

    def load(self) -> CheckpointContents | None:
        """Returns what was saved last; None where nothing was, or where it is damaged, which deletes it."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self.drop(repr(error))
            return None

    def drop(self, reason: str) -> None:
        """Deletes a file that a fit cannot resume from."""
        self._tell(f"checkpoint {self._path} is dropped, its fit begins from scratch: {reason}")
        self._path.unlink(missing_ok=True)

    def save(self, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
        """Replaces what was saved before. A disk that takes nothing costs the checkpoint, not the round."""
        on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(metadata)
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            save_file(on_host, partial, {_METADATA: text, _DIGEST: _digest(on_host, text)})
            partial.replace(self._path)
        except (OSError, SafetensorError) as error:
            self._tell(f"checkpoint {self._path} cannot be written, the round goes on without it: {error}")

    def _read(self) -> CheckpointContents:
        with safe_open(self._path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata[_DIGEST] != _digest(tensors, metadata[_METADATA]):
            raise ValueError("the content is not what was written")
        return CheckpointContents(tensors, json.loads(metadata[_METADATA]))


class Checkpoints:
    """The checkpoints of a round, one for each of its fits in their order."""

    def __init__(self, folder: Path | None, tell: Callable[[str], None] = lambda _: None) -> None:
        """`folder` belongs to them alone; None saves nothing. `tell` is given a line about what goes wrong."""
        self._folder = folder
        self._tell = tell
        self._next = 0

    def begin(self, fingerprint: str) -> None:
        """Begins a round, and deletes what another round has saved."""
        self._next = 0
        if self._folder is None:
            return
        path = self._folder / _FINGERPRINT
        try:
            if path.exists() and path.read_text() == fingerprint:
                return
            self.clear()
            self._folder.mkdir(parents=True)
            replace_file(path, fingerprint.encode())
        except OSError as error:
            self._tell(f"no checkpoints, the round goes on without them: {error}")

    def next(self) -> Checkpoint | None:
        """Returns the checkpoint of the round's next fit; None where nothing is saved."""
        self._next += 1
        if self._folder is None:
            return None
        return Checkpoint(self._folder / f"fit-{self._next}.safetensors", self._tell)

    def clear(self) -> None:
        """Deletes all of them."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


NO_CHECKPOINTS: Final = Checkpoints(None)


def fingerprint_of(settings: object, names: Iterable[str]) -> str:
    """Returns a hash, in hex, of what a round depends on: settings by their `repr`, and names in order."""
    digest = sha256(repr((FORMAT, torch.__version__, settings)).encode())
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file in one step: whoever reads it finds the old content or the new one, never a part of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
