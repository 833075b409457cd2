"""The users of the assigned partitions on this machine's disk: one RocksDB per partition.

A user's record is stored under the user id, as in the changelog. A mark beside the records says how far they contain
the changelog, and is written with them in one batch. There is no write-ahead log: after a crash a partition is as old
as its last flush, with the changelog offset of that moment, and the changelog has the rest.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from stream_app.errors import DataPathError, UsageError

FORMAT: Final = 1  # of the mark and the records
_MARK: Final = b"m"  # the key of the mark
_USER: Final = b"u"  # before every user id
_WRITE_BUFFER: Final = 8 * 2**20  # bytes per partition
_BLOCK_CACHE: Final = 64 * 2**20  # bytes for all partitions together
# Texts of RocksDB's errors, which have no codes. These say nothing against the files, also inside of another error.
_NOT_DAMAGE: Final = tuple(
    map(
        os.strerror,
        (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EMFILE,
            errno.ENFILE,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.EIO,
            errno.ENOMEM,
            errno.ENOLCK,
            errno.EAGAIN,
        ),
    )
)
_OTHER_OPTIONS: Final = "does not match"  # the files were written with another comparator or merge operator
_FILE_MISSING: Final = os.strerror(errno.ENOENT)
_TOO_MANY_FILES: Final = (os.strerror(errno.EMFILE), os.strerror(errno.ENFILE))
_MOST_TABLES: Final = 256  # open table files of a partition; beyond, those used longest ago are closed
_LEAST_TABLES: Final = 20  # RocksDB takes no smaller limit
_OTHER_FILES: Final = 200  # that a worker needs beside the stores: sockets, logs, libraries
_FILES_BESIDE_TABLES: Final = 8  # of a partition
_BLOOM_BITS: Final = 10  # per user: 1 % of unknown users cost a look at the disk

logger: Final = logging.getLogger(__name__)


class StoreMark(msgspec.Struct, frozen=True):
    """Says of which stream a partition's records are, and as of when."""

    format: int
    cluster: str  # its id
    topic: str  # the changelog
    epoch: int
    offset: int  # the last changelog record contained
    written_at: float  # seconds since the epoch


class LocalStore:
    """The open partitions' users. Reading and writing may happen in different threads."""

    def __init__(
        self, directory: Path, *, topic: str, epoch: int, clock: Callable[[], float], tables: int = _MOST_TABLES
    ) -> None:
        """Takes a folder of its own below `directory`, as other workers on this machine do.

        The users are those of changelog `topic` under a stream `epoch`; `clock` in seconds since the epoch. A partition
        keeps at most so many `tables` open. Raises `UsageError` when nothing can be written there.
        """
        self._topic = topic
        self._epoch = epoch
        self._clock = clock
        self._tables = tables
        self._folder, self._lock = _own_folder(directory)
        self._cache = Cache(_BLOCK_CACHE)
        self._open: dict[int, Rdict] = {}
        self._offsets: dict[int, int] = {}
        self._cluster = ""  # the Kafka cluster of the open partitions

    @property
    def folder(self) -> Path:
        """The folder of this worker's partitions."""
        return self._folder

    @property
    def partitions(self) -> set[int]:
        """The open partitions."""
        return set(self._open)

    def open(self, partition: int, end: int, retention: float, cluster: str) -> None:
        """Opens a partition; starts it empty where its files cannot be used.

        Its changelog ends at offset `end` on a Kafka cluster (by id), which keeps tombstones for `retention` seconds: a
        store that is older and not at the end may have missed some. Raises `DataPathError` where the files cannot be
        read for another reason than damage: they stay as they are.
        """
        self._cluster = cluster
        path = self._path(partition)
        database: Rdict | None = None
        try:
            database = Rdict(str(path), self._options())
            mark = _read_mark(database)
            useless = self._why_useless(mark, end, retention)
        except Exception as error:  # rocksdict has no errors of its own
            if not _is_damage(error):
                raise DataPathError(_why_not_opened(partition, path, error)) from error
            mark, useless = None, f"it is damaged ({error})"
        if useless is not None:
            logger.warning("the local store of partition %d is rebuilt from the changelog: %s", partition, useless)
            if database is not None:
                database.close()
            shutil.rmtree(path, ignore_errors=True)
            database, mark = Rdict(str(path), self._options()), None
        assert database is not None
        self._open[partition] = database
        if mark is not None:
            self._offsets[partition] = mark.offset

    def close(self, partition: int) -> None:
        """Flushes and closes a partition; its files stay, as a head start when the partition comes back."""
        database = self._open.pop(partition, None)
        self._offsets.pop(partition, None)
        if database is not None:
            database.flush()
            database.close()

    def stop(self) -> None:
        """Closes all partitions and gives the folder back."""
        for partition in list(self._open):
            self.close(partition)
        self._lock.close()

    def offset(self, partition: int) -> int | None:
        """The offset of the last changelog record that a partition contains; None: it is not open, or empty."""
        return self._offsets.get(partition)

    def read(self, partition: int, users: Sequence[str]) -> dict[str, bytes]:
        """Reads the records of those users who have one. Raises `DataPathError` when files turn out to be damaged."""
        with self._removed_when_damaged(partition):
            records: Any = self._open[partition].get([_USER + user.encode() for user in users])
        return {user: record for user, record in zip(users, records, strict=True) if record is not None}

    def some(self, partition: int, most: int) -> list[bytes]:
        """Reads up to so many records of a partition's users. Raises `DataPathError` when files are damaged."""
        with self._removed_when_damaged(partition):
            return list(itertools.islice(self._open[partition].values(from_key=_USER), most))

    def behind(self, partition: int, user: bytes | None, most: int) -> list[tuple[bytes, bytes]]:
        """Reads up to so many users and their records, those behind a user in the order of the ids; None: the first.

        Raises `DataPathError` when files are damaged.
        """
        begin = _USER if user is None else _USER + user + b"\0"
        with self._removed_when_damaged(partition):
            records: Any = itertools.islice(self._open[partition].items(from_key=begin), most)
            return [(key[len(_USER) :], record) for key, record in records]

    def write(
        self, partition: int, records: Iterable[tuple[bytes, bytes | None]], offset: int, known_from: int = 0
    ) -> None:
        """Stores records (user id, bytes; None: forget the user) of the changelog up to `offset`, all or none.

        The caller has all records from offset `known_from` on. Where records before it are not contained yet, another
        worker wrote them and the next recovery has to read them, so the mark stays where it is.
        Raises `DataPathError` when files turn out to be damaged, and what RocksDB raises when the disk is full.
        """
        batch = WriteBatch(raw_mode=True)
        for user, record in records:
            if record is None:
                batch.delete(_USER + user)
            else:
                batch.put(_USER + user, record)
        contained = self._offsets.get(partition, -1)
        moves = known_from - 1 <= contained < offset
        if moves:
            mark = StoreMark(FORMAT, self._cluster, self._topic, self._epoch, offset, self._clock())
            batch.put(_MARK, msgspec.msgpack.encode(mark))
        with self._removed_when_damaged(partition):
            self._open[partition].write(batch, _without_log())
        if moves:
            self._offsets[partition] = offset

    def _why_useless(self, mark: StoreMark | None, end: int, retention: float) -> str | None:
        if mark is None:
            return None
        wanted = (FORMAT, self._cluster, self._topic, self._epoch)
        stored = (mark.format, mark.cluster, mark.topic, mark.epoch)
        if stored != wanted:
            return f"it is of format, cluster, changelog and stream epoch {stored}, not {wanted}"
        if mark.offset >= end:
            return f"it contains changelog offset {mark.offset}, but the changelog ends at {end}: it was recreated"
        age = self._clock() - mark.written_at
        if age > retention and mark.offset < end - 1:
            return f"it is {age / 3600:.1f} hours old; the changelog keeps tombstones for {retention / 3600:.1f}"
        return None

    @contextmanager
    def _removed_when_damaged(self, partition: int) -> Iterator[None]:
        """Removes a partition's files when they turn out to be damaged: opening reads only some of them, so the next
        start would fail at the same point."""
        try:
            yield
        except Exception as error:
            if not _is_damage(error):
                raise
            shutil.rmtree(self._path(partition), ignore_errors=True)
            raise DataPathError(
                f"the local store of partition {partition} is damaged ({error}) and was removed; the next start "
                "rebuilds it from the changelog"
            ) from error

    def _path(self, partition: int) -> Path:
        return self._folder / str(partition)

    def _options(self) -> Options:
        options, blocks = Options(raw_mode=True), BlockBasedOptions()
        options.create_if_missing(True)
        options.set_keep_log_file_num(2)  # RocksDB's own log of each start; by default it keeps a thousand
        options.set_max_open_files(self._tables)
        options.set_write_buffer_size(_WRITE_BUFFER)
        options.set_compression_type(DBCompressionType.none())  # hashes and half precision numbers do not get smaller
        blocks.set_block_cache(self._cache)
        blocks.set_bloom_filter(_BLOOM_BITS, False)
        options.set_block_based_table_factory(blocks)
        return options


def raise_file_limit() -> int:
    """Lets this process have as many open files as it may without asking (`getrlimit(2)`); returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def tables_per_partition(files: int, partitions: int) -> int:
    """Returns how many table files each of so many partitions may keep open in a process of so many open files."""
    share = (files - _OTHER_FILES) // partitions - _FILES_BESIDE_TABLES
    return min(max(share, _LEAST_TABLES), _MOST_TABLES)


def _is_damage(error: Exception) -> bool:
    """Returns whether an error says that the files are no good, so that only removing them helps.

    What a limit, a right or a failing disk may have caused does not: the store would be lost when it is needed most.
    """
    if isinstance(error, msgspec.DecodeError):  # of the mark
        return True
    text = str(error)
    if any(cause in text for cause in _NOT_DAMAGE):
        return False
    return text.startswith("Corruption") or _OTHER_OPTIONS in text or _FILE_MISSING in text


def _why_not_opened(partition: int, path: Path, error: Exception) -> str:
    text = f"the local store of partition {partition} in {str(path)!r} cannot be opened, and was left as it is: {error}"
    if any(cause in text for cause in _TOO_MANY_FILES):
        return f"{text}. Raise the limit of open files (ulimit -n, LimitNOFILE)"
    return text


def _own_folder(directory: Path) -> tuple[Path, IO[Any]]:
    """Takes the first numbered folder that no other process holds; returns it and the open lock file that holds it."""
    try:
        for number in itertools.count():
            folder = directory / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                return folder, lock
    except OSError as error:
        raise UsageError(
            f"cannot keep user states in {str(directory)!r}: {error.strerror}. Set NEXTACT_DATA_DIR to a folder that "
            "can be written"
        ) from error
    raise AssertionError("every numbered folder is taken")


def _read_mark(database: Mapping[bytes, bytes] | Rdict) -> StoreMark | None:
    """Reads the mark, if there is one. Raises `msgspec.DecodeError` when it cannot be read."""
    mark = database.get(_MARK)
    return None if mark is None else msgspec.msgpack.decode(mark, type=StoreMark)


def _without_log() -> WriteOptions:
    options: Any = WriteOptions()
    options.disable_wal = True  # rocksdict's stubs call it a method; it is a property
    return options  # type: ignore[no-any-return]
