"""The demo's headline in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.contract.demo.headline import Headline, TellerShare, read_headline, write_headline

HEADLINE = Headline(200, True, [TellerShare("nextact", 0.8, 0.75, 0.84)], "no version is trained yet")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "headline.json"
    assert read_headline(path) is None
    for headline in (HEADLINE, Headline(0, False, [])):
        write_headline(path, headline)
        assert read_headline(path) == headline
    assert [one.name for one in tmp_path.iterdir()] == ["headline.json"]


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b'{"targets":"many"}'])
def test_another_file_is_no_headline(tmp_path: Path, value: bytes) -> None:
    (tmp_path / "other").write_bytes(value)
    assert read_headline(tmp_path / "other") is None
