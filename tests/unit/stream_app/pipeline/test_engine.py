"""What an engine keeps of users follows from the settings."""

from __future__ import annotations

import pytest

from model.state.sections import PREFERENCES, SEGMENT
from model.state.user_record import FIRST_VERSION
from stream_app.pipeline.engine import new_engine
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU


@pytest.mark.parametrize(
    ("profile", "tags"),
    [("none", []), ("reasons", []), ("preferences", [PREFERENCES]), ("scores", [SEGMENT]), ("segment", [SEGMENT]),
     ("preferences,segment", [PREFERENCES, SEGMENT])],
)  # fmt: skip
def test_columns_of_users_are_kept_for_the_parts_that_need_them(profile: str, tags: list[int]) -> None:
    engine = new_engine(load_settings({"profile": profile}), CPU)
    assert [column.tag for column in engine.states.columns] == tags


def test_records_of_before_are_written_where_that_is_set() -> None:
    assert new_engine(load_settings({"write_format": "previous"}), CPU).states.version == FIRST_VERSION
