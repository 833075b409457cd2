"""Notes on disk which round is running, so that the next start of a trainer resumes one that was interrupted."""

from __future__ import annotations

import logging
import shutil
from hashlib import sha256
from typing import Final

import msgspec

from model.training.checkpoints import Checkpoints, replace_file
from stream_app.settings import Settings

_ENTRY: Final = "round.json"  # file name

logger: Final = logging.getLogger(__name__)


class RoundEntry(msgspec.Struct, frozen=True):
    """The content of the file: the round learns from the files of the history up to this number."""

    until: int


class RoundJournal:
    """A folder below `NEXTACT_DATA_DIR` for one history, with the running round's entry and checkpoints."""

    def __init__(self, settings: Settings) -> None:
        name = sha256(f"{settings.history_address} {settings.events_topic} {settings.stream_epoch}".encode())
        self._folder = settings.data_dir / "trainer" / name.hexdigest()[:16]
        self.checkpoints = Checkpoints(self._folder / "fits", logger.warning)

    def interrupted(self) -> int | None:
        """Returns up to which file an interrupted round learned; None where no round was interrupted."""
        try:
            return msgspec.json.decode((self._folder / _ENTRY).read_bytes(), type=RoundEntry).until
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("the interrupted round is forgotten, its entry cannot be read: %r", error)
            self.end()
            return None

    def begin(self, until: int) -> None:
        """Notes that a round on the files up to this one begins or resumes; a full disk costs only the note."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / _ENTRY, msgspec.json.encode(RoundEntry(until)))
        except OSError as error:
            logger.warning("if it is interrupted, this round begins from scratch: %s", error)

    def end(self) -> None:
        """Deletes the folder: no round is to be resumed."""
        shutil.rmtree(self._folder, ignore_errors=True)
