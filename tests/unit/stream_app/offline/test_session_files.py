"""Sessions and examples in the literature's form; lines that cannot be read are named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from stream_app.errors import InputUnreadable
from stream_app.offline.session_files import read_examples, read_sessions


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_sessions_and_examples_zipped_or_not(tmp_path: Path, pack: type[bytes]) -> None:
    sessions = written(tmp_path / "s", pack(b"\xef\xbb\xbf1 2  3\r\n\n4\n"))
    assert read_sessions(sessions) == [["1", "2", "3"], ["4"]]
    examples = written(tmp_path / "e", pack(b"1 2\t3\r\n4\t5\n"))
    assert read_examples(examples) == [(["1", "2"], "3"), (["4"], "5")]


@pytest.mark.parametrize("line", ["3 4", "3 4\t", "\t5", "3\t4 5", "3\t4\t5"])
def test_a_line_that_is_not_an_example_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "e", f"1\t2\n{line}\n".encode())
    with pytest.raises(InputUnreadable, match=r"e, line 2: .* is not an example"):
        read_examples(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"1 2\n\xff\xfe\n", "line 2: not UTF-8"),
        (b"1 2\n" + 300 * b"9" + b" 1\n", r"line 2: item id '9+…' has 300 characters"),
        (gzip.compress(b"1 2\n" * 10_000, mtime=0)[:-40], "gzip -t"),
        (b"\x1f\x8bno gzip", "gzip -t"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputUnreadable, match=said):
        read_sessions(written(tmp_path / "s", content))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match="none cannot be opened"):
        read_sessions(str(tmp_path / "none"))
    with pytest.raises(InputUnreadable, match="cannot be opened: Is a directory"):
        read_examples(str(tmp_path))
