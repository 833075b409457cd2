"""Where the fits of a round are, on disk: a round that was ended goes on from there.

After every epoch a fit saves all that its rest depends on: the network, the optimizer's moments, the place in the
schedule, the states of the random generators and the losses so far. Every fit of a round has a file, which each epoch
replaces in one step, and keeps it when it is over. What a round computes between its fits (the combiner, the purchase
head, the verdict) follows from them and its seed, and is computed again. So on a CPU an ended round gives the same
weights as one that was not.

The files belong to one round, known by its fingerprint: of what it learns from, the champion and the configuration. A
round with another one deletes them. They are safetensors with JSON in the metadata, and a SHA-256 of both: a damaged
one is dropped, and its fit begins anew.
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
from safetensors.torch import save as encode
from torch import Tensor

FORMAT: Final = 1  # raise it when a fit saves something else
_FINGERPRINT: Final = "fingerprint"
_FACTS: Final = "facts"
_DIGEST: Final = "sha256"

Facts = dict[str, Any]  # what JSON has


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """What was saved after an epoch."""

    tensors: Mapping[str, Tensor]
    facts: Facts


class Checkpoint:
    """The file of one fit."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell

    def load(self) -> CheckpointContents | None:
        """What was saved last; None: nothing, or what was saved is damaged and is gone now."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self.drop(repr(error))
            return None

    def drop(self, why: str) -> None:
        """Deletes a file that cannot be gone on from."""
        self._tell(f"checkpoint {self._path} is dropped, its fit begins anew: {why}")
        self._path.unlink(missing_ok=True)

    def save(self, tensors: Mapping[str, Tensor], facts: Facts) -> None:
        """Replaces what was saved before. A place that takes nothing costs the checkpoint, not the round."""
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(facts)
        content = encode(kept, {_FACTS: text, _DIGEST: _digest(kept, text)})
        try:
            _replace(self._path, content)
        except OSError as error:
            self._tell(f"checkpoint {self._path} cannot be written, the round goes on without it: {error}")

    def _read(self) -> CheckpointContents:
        with safe_open(self._path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if metadata[_DIGEST] != _digest(tensors, metadata[_FACTS]):
            raise ValueError("it is not what was written")
        return CheckpointContents(tensors, json.loads(metadata[_FACTS]))


class Checkpoints:
    """Those of a round, one for each of its fits in their order."""

    def __init__(self, folder: Path | None, tell: Callable[[str], None] = lambda _: None) -> None:
        """`folder`: theirs alone; None: nothing is saved. `tell` is given a line about what goes wrong."""
        self._folder = folder
        self._tell = tell
        self._next = 0

    def begin(self, fingerprint: str) -> None:
        """Begins a round: what another one has saved is deleted."""
        self._next = 0
        if self._folder is None:
            return
        path = self._folder / _FINGERPRINT
        try:
            if path.exists() and path.read_text() == fingerprint:
                return
            self.clear()
            self._folder.mkdir(parents=True)
            _replace(path, fingerprint.encode())
        except OSError as error:
            self._tell(f"no checkpoints, the round goes on without them: {error}")

    def next(self) -> Checkpoint | None:
        """Of the round's next fit."""
        self._next += 1
        if self._folder is None:
            return None
        return Checkpoint(self._folder / f"fit-{self._next}.safetensors", self._tell)

    def clear(self) -> None:
        """Deletes all of them."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


NOWHERE: Final = Checkpoints(None)


def fingerprint_of(facts: object, words: Iterable[str], arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """Of what a round depends on, in hex: `facts` by their `repr`."""
    found = sha256(repr((FORMAT, torch.__version__, facts)).encode())
    for word in words:
        found.update(word.encode() + b"\0")
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    found = sha256(text.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
