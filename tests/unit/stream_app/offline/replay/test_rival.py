"""What a shop shows today: rows of any format, clear errors, and the last list before a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.replay.rival import RivalLists, ShownList, rival_file

OPTIONS = {"timezone": "UTC", "time_unit": "auto"}


def lists(path: Path, text: str, *columns: str, **options: Any) -> list[ShownList]:
    path.write_text(text, encoding="utf-8")
    return list(rival_file(str(path), columns, OPTIONS | options))


@pytest.mark.parametrize(
    "text",
    [
        "time,user,items\n1700000000,u1,a b c\n",
        'time,user,items\n2023-11-14T22:13:20Z,u1,"a,b;c"\n',
        "items;user;time\na|b|c;u1;1700000000000\n",
        'time,user,items\n2023-11-14 22:13:20,u1,"[""a"",""b"",""c""]"\n',
    ],
)
def test_tables_of_any_kind_are_read(tmp_path: Path, text: str) -> None:
    assert lists(tmp_path / "shown.csv", text) == [ShownList(1_700_000_000_000, "u1", ("a", "b", "c"))]


def test_nothing_is_a_list_too(tmp_path: Path) -> None:
    assert lists(tmp_path / "shown.csv", "time,user,items\n1700000000,u,\n")[0].items == ()


def test_json_lines_and_other_names_of_columns_are_read(tmp_path: Path) -> None:
    row = {"at": "2023-11-15 06:13:20", "visitor": 7, "items": [1, "b"]}
    found = lists(tmp_path / "shown.jsonl", json.dumps(row) + "\n", "time=at", "user=visitor", timezone="Asia/Shanghai")
    assert found == [ShownList(1_700_000_000_000, "7", ("1", "b"))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,user,items\n17,u,a\nyesterday,u,a\n", "line 3: time 'yesterday' is neither"),
        ("time,user,items\n17,,a\n", "line 2: no user"),
        ('time,user,items\n17,u,"[1,"\n', "line 2: items '\\[1,' are not a JSON list"),
        (
            "when,user,items\n17,u,a\n",
            "no column 'time' for time; there are: when, user, items. Say .* --rival-column time=",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_value(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputUnreadable, match=says):
        lists(tmp_path / "shown.csv", text)


def test_a_file_that_is_not_there_and_a_field_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match="cannot be opened"):
        list(rival_file(str(tmp_path / "none.csv"), (), OPTIONS))
    with pytest.raises(SettingsInvalid, match="no rival's field is called 'item'"):
        rival_file("x.csv", ("item=a",), OPTIONS)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("uv"))), st.integers(0, 10), st.sampled_from("uvw"))
def test_the_last_list_before_a_moment_counts(rows: list[tuple[int, str]], time: int, user: str) -> None:
    shown = [ShownList(at, who, (str(number),)) for number, (at, who) in enumerate(rows)]
    before = [one for one in shown if one.user == user and one.time < time]
    newest = max(before, key=lambda one: (one.time, int(one.items[0])), default=None)
    found = RivalLists(iter(shown))
    assert found(user, time) == (None if newest is None else newest.items)
    assert found.rows == len(rows)
    assert found.users == {who for _, who in rows}
