"""The picture of segments."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from stream_app.errors import UsageError
from stream_app.offline.profiles.segment_plot import draw_segments
from tests.unit.builders.segments import fitted_segments


def test_segments_are_drawn_also_with_long_names(tmp_path: Path) -> None:
    long = replace(fitted_segments(), names=["a rather long name of a segment, which takes two lines", "short"])
    picture = draw_segments("v1", long, tmp_path / "new")
    assert picture == tmp_path / "new" / "segments.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"segments\.png cannot be written"):
        draw_segments("v1", fitted_segments(), tmp_path / "file")
