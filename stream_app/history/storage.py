"""Where the files of a history lie: in a local folder or behind any fsspec address. They appear whole or not at all.

A local folder has a lock, which the kernel releases when its holder dies. Elsewhere two writers meet at the next
number: a file is created only if none has its name (in one step where the fsspec driver can do that, S3 and GCS among
them), and the writer that comes second ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import fsspec
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from model.addresses import shown, why
from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.tables import EVENTS, Table

LOCK: Final = ".lock"  # name of the lock file in a local folder
ASIDE: Final = ".damaged"  # suffix of a damaged file that was set aside
DONE: Final = "-closed"  # suffix after it, once the file's events have been read again
# Readers of Parquet folders ignore names that begin with a dot or an underscore.
_SCRATCH: Final = re.compile(r"\.[0-9a-f-]+\.tmp")
_SET_ASIDE: Final = re.compile(r"(?P<folder>(?:.*/)?)_(?P<file>[^/]+)\.damaged(-closed)?")


class HistoryStorage:
    """A folder of Parquet files, such as `day=YYYY-MM-DD/<number>.parquet`; all names are relative to it."""

    def __init__(self, address: str, table: Table = EVENTS) -> None:
        """`address`: an absolute path or an fsspec address. Raises `HistoryUnusable` if no driver can open it."""
        self.table: Final = table  # of which the files are
        self.address = shown(f"{address}/{table.folder}".rstrip("/"))  # for messages
        self._own_address = address
        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except Exception as error:  # an unknown protocol, a driver that is not installed
            raise HistoryUnusable(
                f"NEXTACT_HISTORY={self.address!r} is neither a folder nor an fsspec address: {self.why(error)}"
            ) from error
        self._root = f"{root}/{table.folder}".rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)
        self._lock: IO[str] | None = None

    def exists(self) -> bool:
        """Returns whether the folder was ever written to. Raises `HistoryFailed`."""
        with self._failing("", "found"):
            return bool(self._files.exists(self._root))

    def remove_scratch(self) -> None:
        """Removes files that a process left half written. Raises `HistoryFailed`."""
        with self._failing("", "tidied up"):
            for path in Path(self._root).glob(".*.tmp") if self._local else ():
                if _SCRATCH.fullmatch(path.name):
                    path.unlink()

    def beside(self, table: Table) -> HistoryStorage:
        """Returns the storage of another table of the same history, whose claim counts for it, too."""
        return HistoryStorage(self._own_address, table)

    def claim(self) -> None:
        """Makes the folder if it is missing and locks other writers out.

        Raises `HistoryUnusable` when the folder cannot be written or another process has it.
        """
        try:
            self._files.makedirs(self._root, exist_ok=True)
            if self._local:
                self._take_lock()
        except HistoryUnusable:
            raise
        except Exception as error:  # every kind of storage raises errors of its own
            raise HistoryUnusable(
                f"the history in {self.address!r} cannot be written: {self.why(error)}. "
                "Set NEXTACT_HISTORY to a folder or address that can be written"
            ) from error

    def release(self) -> None:
        """Releases the lock for other writers."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def sizes(self) -> Mapping[str, int]:
        """Returns the names and sizes (bytes) of the table's files in the order of their numbers.

        Raises `HistoryFailed`.
        """
        sizes = {name: size for name, size in self._all() if self.table.names.fullmatch(name)}
        return dict(sorted(sizes.items(), key=lambda item: _base(item[0])))

    def set_aside_names(self) -> list[str]:
        """Returns the names of the damaged files that were set aside."""
        return sorted(name for name, _ in self._all() if self.table.names.fullmatch(original_name(name)))

    def close_damage(self) -> None:
        """Marks the files that were set aside so far as closed: their events have been read again."""
        for name in self.set_aside_names():
            if not name.endswith(DONE):
                self._rename(name, name + DONE)

    def open_damage(self) -> list[int]:
        """Returns the numbers of files that were set aside and whose events have not been read again yet."""
        return [int(_base(name)[1:21]) for name in self.set_aside_names() if not name.endswith(DONE)]

    @contextmanager
    def opened(self, name: str, read_dictionary: Iterable[str] = ()) -> Iterator[pq.ParquetFile]:
        """Opens a file for reading, with these columns as dictionaries; pages are compared with their checksums.

        Raises pyarrow's errors for a damaged file, `HistoryFailed` for a storage that does not answer.
        """
        with ExitStack() as closing:
            source: Any = self._path(name)
            if not self._local:
                with self._failing(name, "read"):
                    source = closing.enter_context(self._files.open(source, "rb"))
            options: Any = {"read_dictionary": list(read_dictionary), "page_checksum_verification": True}
            yield closing.enter_context(pq.ParquetFile(source, **options))

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Gives a path of this machine to write a file to before it is published, and removes what is left of it."""
        folder = Path(self._root) if self._local else Path(tempfile.mkdtemp(prefix="nextact-history-"))
        path = folder / f".{_base(name).removesuffix('.parquet')}.tmp"
        try:
            if not folder.exists():
                self._make(folder)
            yield path
        finally:
            path.unlink(missing_ok=True)
            if not self._local:
                folder.rmdir()

    def publish(self, scratch: Path, name: str, *, replace: bool) -> int:
        """Gives what was written to `scratch` its name in the storage, in one step; returns its size in bytes.

        Raises `HistoryFailed`, also if the name is taken and `replace` is false.
        """
        size = scratch.stat().st_size
        with self._failing(name, "written"):
            if not replace and self._files.exists(self._path(name)):
                raise self._taken(name)
            if self._local:
                self._move(scratch, Path(self._path(name)))
            elif replace:
                self._files.put_file(str(scratch), self._path(name))
            else:
                self._create(scratch, name)
        return size

    def remove(self, name: str) -> None:
        """Removes a file, if it is still there."""
        with self._failing(name, "removed"):
            with suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))
            if self._local:
                with suppress(OSError):  # not empty
                    Path(self._path(name)).parent.rmdir()

    def set_aside(self, name: str) -> str:
        """Gives a damaged file a name that readers ignore; returns the name."""
        aside = _aside(name)
        self._rename(name, aside)
        return aside

    def remove_aside(self, name: str) -> None:
        """Removes the damaged file of this name that was set aside, if there is one."""
        self.remove(_aside(name))

    def why(self, error: Exception) -> str:
        """Returns why the storage, or its driver, failed, without the secrets of the address."""
        return (error.strerror if isinstance(error, OSError) else None) or why(error, self._own_address)

    def _rename(self, name: str, other: str) -> None:
        with self._failing(name, "renamed"):
            self._files.mv(self._path(name), self._path(other))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _all(self) -> list[tuple[str, int]]:
        with self._failing("", "listed"):
            self._files.invalidate_cache()
            entries = self._files.find(self._root, detail=True)
        prefix = len(self._root) + 1
        return [(path[prefix:], int(entry["size"])) for path, entry in entries.items()]

    def _take_lock(self) -> None:
        lock = Path(self._root, LOCK).open("a+")  # noqa: SIM115 - held until `release`
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise HistoryUnusable(
                f"the history in {self.address!r} is in use by {holder}: stop that one, or set NEXTACT_HISTORY to "
                "another folder or address"
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        self._lock = lock

    def _make(self, folder: Path) -> None:
        with self._failing("", "made"):
            folder.mkdir()
            _sync(folder.parent)

    def _create(self, scratch: Path, name: str) -> None:
        try:
            self._files.pipe_file(self._path(name), scratch.read_bytes(), mode="create")
        except FileExistsError:
            raise self._taken(name) from None

    def _taken(self, name: str) -> HistoryFailed:
        return HistoryFailed(
            f"{self.address}/{name} was written by another process: a history has one trainer. Stop the other, or set "
            "NEXTACT_HISTORY to another folder or address; the next start goes on where the files end"
        )

    @staticmethod
    def _move(scratch: Path, path: Path) -> None:
        """Moves a file so that not even a loss of power undoes it."""
        _sync(scratch)
        path.parent.mkdir(exist_ok=True)
        scratch.replace(path)
        _sync(path.parent)
        _sync(path.parent.parent)

    @contextmanager
    def _failing(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except HistoryFailed:
            raise
        except Exception as error:  # every kind of storage raises errors of its own
            raise HistoryFailed(f"{self.address}/{name} cannot be {what}: {self.why(error)}") from error


def number_of(name: str) -> int:
    """Returns the number in the name of a file."""
    return int(_base(name).removesuffix(".parquet"))


def original_name(name: str) -> str:
    """Returns the name that a file had before it was set aside; empty for other files."""
    aside = _SET_ASIDE.fullmatch(name)
    return aside["folder"] + aside["file"] if aside else ""


def _aside(name: str) -> str:
    return f"{name.removesuffix(_base(name))}_{_base(name)}{ASIDE}"


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
