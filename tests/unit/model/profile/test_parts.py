"""Which parts of a profile are computed is a list of names."""

from __future__ import annotations

import pytest

from model.profile.parts import PARTS, parts_of


def test_a_list_of_parts_is_read() -> None:
    assert parts_of("preferences, scores") == {"preferences", "scores"}
    assert parts_of(",".join(PARTS)) == set(PARTS)
    assert parts_of("none") == frozenset()


@pytest.mark.parametrize("text", ["", "score", "none,scores"])
def test_an_unknown_part_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no part of a profile: say preferences, segment, scores, reasons"):
        parts_of(text)
