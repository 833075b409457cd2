"""The file of when items were last seen: read where it is what was written, and no reason to refuse a version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.versions.last_seen import FACT, encode_last_seen, read_last_seen
from model.versions.manifest import LAST_SEEN

TIMES = np.array([5, -(2**63), 1_700_000_000_000])


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    files, facts = encode_last_seen(TIMES)
    content = files[LAST_SEEN]
    (tmp_path / LAST_SEEN).write_bytes(content)
    assert encode_last_seen(None) == ({}, {})
    found = read_last_seen(str(tmp_path), facts, 3)
    assert found is not None
    assert found.tolist() == TIMES.tolist()


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda _: None])
def test_a_file_that_was_changed_cut_or_lost_is_none(tmp_path: Path, change: object) -> None:
    files, facts = encode_last_seen(TIMES)
    content = files[LAST_SEEN]
    changed = change(content)  # type: ignore[operator]
    if changed is not None:
        (tmp_path / LAST_SEEN).write_bytes(changed)
    assert read_last_seen(str(tmp_path), facts, 3) is None


def test_a_version_of_before_has_none_and_another_vocabulary_none_of_its_own(tmp_path: Path) -> None:
    files, facts = encode_last_seen(TIMES)
    content = files[LAST_SEEN]
    (tmp_path / LAST_SEEN).write_bytes(content)
    assert read_last_seen(str(tmp_path), {}, 3) is None
    assert read_last_seen(str(tmp_path), facts, 2) is None
    assert FACT in facts
