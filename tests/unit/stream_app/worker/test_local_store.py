"""The local store on a real RocksDB: what it keeps, what it rebuilds, and what a crash leaves."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rocksdict import Rdict

from stream_app.errors import DataPathError, UsageError
from stream_app.worker import local_store
from stream_app.worker.local_store import LocalStore, _is_damage, tables_per_partition

USERS = 400
SIZE = 600  # bytes of a record


@contextmanager
def opened(directory: Path, *, end: int = 1000, retention: float = 60.0, now: float = 0.0) -> Iterator[LocalStore]:
    """A store with partition 0 open."""
    store = LocalStore(directory, topic="users", epoch=1, clock=lambda: now)
    try:
        store.open(0, end, retention, "c")
        yield store
    finally:
        store.stop()


def names(prefix: str = "u") -> list[str]:
    return [f"{prefix}{n}" for n in range(USERS)]


def rows(value: int, prefix: str = "u") -> list[tuple[bytes, bytes | None]]:
    return [(name.encode(), bytes([value]) * SIZE) for name in names(prefix)]


def filled(directory: Path, offset: int = 7) -> Path:
    """A store on the disk; returns the folder of the partition."""
    with opened(directory) as store:
        store.write(0, rows(3), offset)
        return store.folder / "0"


def test_records_are_read_back_replaced_and_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.offset(0) is None
        store.write(0, [(b"a", b"1"), ("ü".encode(), b"2"), (b"b", b"3"), (b"a", b"4")], 5)
        assert store.read(0, ["a", "ü", "b", "nobody"]) == {"a": b"4", "ü": b"2", "b": b"3"}
        store.write(0, [(b"b", None), (b"nobody", None), (b"a", b"")], 9)
        assert store.read(0, ["a", "ü", "b"]) == {"a": b"", "ü": b"2"}
        assert store.offset(0) == 9
        store.write(0, [], 12)  # a marker of a transaction
        assert store.offset(0) == 12


def test_the_mark_does_not_pass_records_that_another_worker_wrote(tmp_path: Path) -> None:
    with opened(tmp_path, now=1.0) as store:
        store.write(0, [(b"a", b"1")], 1, known_from=1)  # the record at 0 is unknown
        assert store.offset(0) is None
        store.write(0, [(b"a", b"1")], 5)
        store.write(0, [(b"a", b"2"), (b"b", b"2")], 7, known_from=6)
        assert store.offset(0) == 7
        store.write(0, [(b"a", b"3")], 9, known_from=9)
        store.write(0, [(b"b", b"4")], 10, known_from=10)
        assert store.offset(0) == 7
        store.write(0, [], 3)  # an older fetch, read again
        assert store.offset(0) == 7
    with opened(tmp_path, now=61.5, retention=60.0) as store:
        assert store.offset(0) is None  # as old as what it contains
    with opened(tmp_path, now=1.0) as store:
        store.write(0, [(b"a", b"1")], 7)
        store.write(0, [(b"a", b"3")], 9, known_from=9)
    with opened(tmp_path) as store:
        assert store.offset(0) == 7
        assert store.read(0, ["a"]) == {"a": b"3"}  # the newest record is there all the same
        store.write(0, [], 12)  # recovery has read what was missing
        assert store.offset(0) == 12


def test_a_store_with_the_whole_changelog_is_never_too_old(tmp_path: Path) -> None:
    filled(tmp_path, offset=999)
    with opened(tmp_path, now=7201.0, retention=7200.0) as store:
        assert store.offset(0) == 999
    with opened(tmp_path, now=7201.0, retention=7200.0, end=1001) as store:
        assert store.offset(0) is None


def test_a_user_id_never_collides_with_the_mark(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.write(0, [(b"m", b"x"), (b"", b"y")], 5)
        assert store.read(0, ["m", ""]) == {"m": b"x", "": b"y"}
    with opened(tmp_path) as store:
        assert store.offset(0) == 5


def test_a_closed_partition_can_be_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, offset=999)
    with opened(tmp_path, now=60.0) as store:
        assert store.offset(0) == 999
        assert store.read(0, names()) == {user.decode(): record for user, record in rows(3)}
        store.close(0)
        assert store.offset(0) is None
        assert store.partitions == set()
        store.open(0, 1000, 60.0, "c")
        assert store.offset(0) == 999
    assert not caplog.records


def test_partitions_know_nothing_of_each_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.open(1, 1000, 60.0, "c")
        store.write(0, [(b"a", b"0")], 5)
        store.write(1, [(b"a", b"1")], 6)
        assert store.partitions == {0, 1}
        assert (store.read(0, ["a"]), store.read(1, ["a"])) == ({"a": b"0"}, {"a": b"1"})
        store.close(0)
        store.close(0)  # nothing to do
        assert store.read(1, ["a"]) == {"a": b"1"}


def overwritten(pattern: str, start: int = 0) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        path.write_bytes(path.read_bytes()[:start] + b"\xff" * 100)

    return damage


def removed(pattern: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        path.unlink()

    return remove


def marked(mark: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        database = Rdict(str(folder))
        database.put(b"m", mark)
        database.close()

    return write


@pytest.mark.parametrize(
    "damage",
    [
        overwritten("CURRENT"),
        overwritten("MANIFEST-*"),
        overwritten("*.sst"),
        removed("MANIFEST-*"),
        removed("*.sst"),
        marked(b"\xc1"),
        marked(b"\x80"),
    ],
    ids=["CURRENT", "MANIFEST", "sst", "no MANIFEST", "no sst", "mark", "empty mark"],
)
def test_damaged_files_are_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    damage(filled(tmp_path))
    assert_rebuilt(tmp_path, caplog, "it is damaged (")


@pytest.mark.parametrize(
    ("circumstances", "reason"),
    [
        ({"end": 7}, "it contains changelog offset 7, but the changelog ends at 7: it was recreated"),
        ({"now": 7201.0, "retention": 7200.0}, "it is 2.0 hours old; the changelog keeps tombstones for 2.0"),
    ],
    ids=["ahead", "old"],
)
def test_a_store_that_does_not_fit_the_changelog_is_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, circumstances: dict[str, float], reason: str
) -> None:
    filled(tmp_path)
    assert_rebuilt(tmp_path, caplog, reason, **circumstances)


@pytest.mark.parametrize(
    ("format_", "cluster", "topic", "epoch"),
    [(2, "c", "users", 1), (1, "d", "users", 1), (1, "c", "other", 1), (1, "c", "users", 2)],
)
def test_a_store_of_another_stream_is_rebuilt(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    format_: int,
    cluster: str,
    topic: str,
    epoch: int,
) -> None:
    with monkeypatch.context() as other:
        other.setattr(local_store, "FORMAT", format_)
        store = LocalStore(tmp_path, topic=topic, epoch=epoch, clock=lambda: 0.0)
        store.open(0, 1000, 60.0, cluster)
        store.write(0, rows(3), 7)
        store.stop()
    stored = (format_, cluster, topic, epoch)
    reason = f"it is of format, cluster, changelog and stream epoch {stored}, not (1, 'c', 'users', 1)"
    assert_rebuilt(tmp_path, caplog, reason)


def assert_rebuilt(directory: Path, caplog: pytest.LogCaptureFixture, reason: str, **circumstances: float) -> None:
    """Opening finds nothing and says why; what is written then stays."""
    with opened(directory, **circumstances) as store:  # type: ignore[arg-type]
        assert store.offset(0) is None
        assert store.read(0, names()) == {}
        store.write(0, rows(4, "new"), 3)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"the local store of partition 0 is rebuilt from the changelog: {reason}")
    caplog.clear()
    with opened(directory) as store:
        assert store.offset(0) == 3
        assert store.read(0, names("new")) == {user.decode(): record for user, record in rows(4, "new")}
    assert not caplog.records


def test_a_store_that_another_process_holds_is_left_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as store:
        other = LocalStore(tmp_path, topic="users", epoch=1, clock=lambda: 0.0)
        other._folder = store.folder
        with pytest.raises(DataPathError, match=r"partition 0 in '.*' cannot be opened, and was left as it is: .*lock"):
            other.open(0, 1000, 60.0, "c")
        other.stop()
        assert store.read(0, ["u1"]) == {"u1": bytes([3]) * SIZE}


NOT_DAMAGE = [
    errno.EMFILE, errno.ENFILE, errno.EDQUOT, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
]  # fmt: skip


@pytest.mark.parametrize("code", NOT_DAMAGE)
@pytest.mark.parametrize("text", ["IO error: While opendir: x: {}", "Corruption: IO error: {}", "Invalid argument: {}"])
def test_what_a_limit_or_a_failing_disk_causes_is_not_damage(code: int, text: str) -> None:
    assert not _is_damage(Exception(text.format(os.strerror(code))))


@pytest.mark.parametrize(
    "text",
    ["Corruption: block checksum mismatch", "Invalid argument: leveldb.X: does not match existing comparator y"],
)
def test_what_only_removing_mends_is_damage(text: str) -> None:
    assert _is_damage(Exception(text))


@pytest.mark.parametrize("more", range(1, 6))
def test_a_store_outlives_a_limit_of_open_files(tmp_path: Path, more: int) -> None:
    body = f"""
write(7)
store.close(0)
files = sorted(path.name for path in store.folder.glob("0/*"))
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1 + {more}, 4096))
try:
    store.open(0, 1_000_000, 60.0, "c")
except Exception as error:
    print(type(error).__name__, error)
assert {{name for name in files if name.endswith(".sst")}} <= {{path.name for path in store.folder.glob("0/*")}}
"""
    done = run(tmp_path, body)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("DataPathError the local store of partition 0 in ")
    assert "Too many open f" in done.stdout
    with opened(tmp_path, end=1_000_000) as store:
        assert store.offset(0) == 7
        assert store.read(0, ["u0"]) == {"u0": b"%08d" % 7 * 75}


def test_a_partition_keeps_as_many_files_open_as_the_limit_leaves() -> None:
    assert [tables_per_partition(files, 8) for files in (64, 1024, 4096, 10**6)] == [20, 95, 256, 256]
    assert tables_per_partition(1024, 200) == 20


def test_the_soft_limit_of_open_files_becomes_the_hard_one(tmp_path: Path) -> None:
    body = """
from stream_app.worker.local_store import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert run(tmp_path, body).stdout == "2048 (2048, 2048)\n"


def test_more_tables_than_may_be_open_are_all_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, topic="users", epoch=1, clock=lambda: 0.0, tables=20)
    store.open(0, 1000, 60.0, "c")
    for offset in range(3):
        store.write(0, rows(offset, f"{offset} "), offset)
        store.close(0)
        store.open(0, 1000, 60.0, "c")
    assert len(store.read(0, [name for offset in range(3) for name in names(f"{offset} ")])) == 3 * USERS
    store.stop()


def test_damage_that_a_read_finds_is_not_found_again_by_the_next_start(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (table,) = folder.glob("*.sst")
    content = table.read_bytes()
    half = len(content) // 2
    table.write_bytes(content[:half] + b"\xff" * 100 + content[half + 100 :])
    with opened(tmp_path) as store:
        assert store.offset(0) == 7  # nothing shows yet
        with pytest.raises(DataPathError, match=r"partition 0 is damaged \(Corruption: .*\) and was removed"):
            store.read(0, names())
    with opened(tmp_path) as store:
        assert store.offset(0) is None
        assert store.read(0, names()) == {}


def test_each_worker_of_a_machine_has_a_directoryof_its_own(tmp_path: Path) -> None:
    first, second = (LocalStore(tmp_path, topic="users", epoch=1, clock=lambda: 0.0) for _ in range(2))
    assert [store.folder for store in (first, second)] == [tmp_path / "0", tmp_path / "1"]
    first.stop()
    third = LocalStore(tmp_path, topic="users", epoch=1, clock=lambda: 0.0)
    assert third.folder == tmp_path / "0"
    second.stop()
    third.stop()


def test_a_directorythat_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "states"
    wanted = f"cannot keep user states in '{directory}': Not a directory. Set NEXTACT_DATA_DIR to a folder"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        LocalStore(directory, topic="users", epoch=1, clock=lambda: 0.0)


def run(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with a store whose partition 0 is open."""
    script = f"""
import os, resource, signal, sys
from pathlib import Path
from stream_app.worker.local_store import LocalStore

store = LocalStore(Path(sys.argv[1]), topic="users", epoch=1, clock=lambda: 0.0)
store.open(0, 1_000_000, 60.0, "c")

def write(offset):
    store.write(0, [(b"u%d" % n, b"%08d" % offset * 75) for n in range(offset % 7, {USERS}, 7)], offset)

{body}
"""
    command = [sys.executable, "-c", script, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("batches", [5, 600])
def test_a_killed_process_leaves_the_records_of_all_batches_up_to_the_mark(tmp_path: Path, batches: int) -> None:
    done = run(tmp_path, f"for offset in range({batches}): write(offset)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL, done.stderr
    with opened(tmp_path, end=batches) as store:
        offset = store.offset(0)
        expected = {}
        for earlier in range(0 if offset is None else offset + 1):
            expected.update({f"u{n}": b"%08d" % earlier * 75 for n in range(earlier % 7, USERS, 7)})
        assert store.read(0, names()) == expected
    # 600 batches are 20 MB: more than RocksDB holds in memory before it writes a file.
    assert offset is None if batches == 5 else (offset is not None and 0 < offset < batches)


def test_a_disk_that_takes_no_more_is_an_error(tmp_path: Path) -> None:
    body = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    for offset in range(10_000): store.write(0, [(b"%d" % offset, b"x" * 10_000)], offset)
except Exception as error:
    print(offset, type(error).__name__, error)
    sys.stdout.flush()
    os._exit(70)
"""
    done = run(tmp_path, body)
    assert done.returncode == 70, done.stderr
    assert "File too large" in done.stdout
    assert "DataPathError" not in done.stdout  # nothing is damaged: the files stay
    offset = int(done.stdout.split()[0])
    with opened(tmp_path, end=1_000_000) as store:
        last = store.offset(0)
        assert last is None or last < offset
        assert store.read(0, [f"{last}", f"{offset}"]).keys() == (set() if last is None else {f"{last}"})


def test_a_deleted_directoryis_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    shutil.rmtree(tmp_path)
    with opened(tmp_path) as store:
        assert store.offset(0) is None
        store.write(0, rows(4), 3)
    assert not caplog.records
