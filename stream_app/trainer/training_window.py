"""Reads what a round learns from out of the history, within the memory that it may take."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from model.data.disk_log import TrainingWindow, window_of_chunks
from model.data.events import ItemNames
from model.data.price_bins import NO_BINS, PriceBins
from model.items.catalogue import ItemCatalogue
from stream_app.errors import NoRoomOnDisk
from stream_app.history.event_history import EventHistory
from stream_app.settings import Settings

_MIB: Final = 1 << 20
_BYTES_PER_ACTION: Final = 640  # at the peak of a round; most of it is for pairs of items


def training_window(
    history: EventHistory,
    settings: Settings,
    files: ExitStack,
    until: int,
    catalogue: ItemCatalogue | None = None,
    bins: PriceBins = NO_BINS,
) -> TrainingWindow:
    """Reads the newest `train_max_events` events of the files up to number `until`; may be called in any thread.

    A log that is too large for the memory is in nameless files until `files` is closed. `bins` are the champion's.
    Raises `NoRoomOnDisk`.
    """
    stored = history.imported.rows + sum(file.rows for file in history.files_until(until))
    names = ItemNames()
    rows, folder = min(settings.train_max_events, stored), settings.data_dir
    room = settings.train_memory * _MIB // _BYTES_PER_ACTION
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return window_of_chunks(
            history.chunks(settings.train_max_events, until, catalogue, names),
            rows=rows,
            room=room,
            folder=folder,
            files=files,
            bins=None if settings.write_format == "previous" else bins,
            names=names,
        )
    except OSError as error:
        raise NoRoomOnDisk(
            f"a round on {rows:,} events needs room on disk in {str(folder)!r}: {error}. Free some, set "
            "NEXTACT_DATA_DIR to another place, raise NEXTACT_TRAIN_MEMORY or lower NEXTACT_TRAIN_MAX_EVENTS"
        ) from error
