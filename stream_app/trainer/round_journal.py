"""The round that runs, on disk: what a trainer was about when it was ended, so that its next start goes on with it."""

from __future__ import annotations

import logging
import shutil
from hashlib import sha256
from typing import Final

import msgspec

from model.training.checkpoints import Checkpoints
from stream_app.settings import Settings

_NOTE: Final = "round.json"

logger: Final = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True):
    """What the round learns from: the files of the history up to this number."""

    until: int


class RoundJournal:
    """A folder below `NEXTACT_DATA_DIR`, of one history alone; it is gone when no round is to be gone on with."""

    def __init__(self, settings: Settings) -> None:
        name = sha256(f"{settings.history_address} {settings.events_topic} {settings.stream_epoch}".encode())
        self._folder = settings.data_dir / "trainer" / name.hexdigest()[:16]
        self.savepoints = Checkpoints(self._folder / "fits", logger.warning)

    def ended(self) -> int | None:
        """Up to which file the round learned that was ended; None: there is no such round."""
        try:
            return msgspec.json.decode((self._folder / _NOTE).read_bytes(), type=Note).until
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("the round that was ended is forgotten, its note cannot be read: %r", error)
            self.over()
            return None

    def begins(self, until: int) -> None:
        """A round begins, or goes on, with the files up to this one. A full disk costs the note, not the round."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{_NOTE}.partial"
            partial.write_bytes(msgspec.json.encode(Note(until)))
            partial.replace(self._folder / _NOTE)
        except OSError as error:
            logger.warning("if it is ended, this round begins anew: %s", error)

    def over(self) -> None:
        """Nothing is to be gone on with."""
        shutil.rmtree(self._folder, ignore_errors=True)
