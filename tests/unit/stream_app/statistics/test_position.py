"""Where counting goes on, by the record that says how far it went."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.errors import DataPathError
from stream_app.settings import load_settings
from stream_app.statistics.position import FORMAT, KEY, Position, offsets_to_go_on, position_record, read_position

SETTINGS = load_settings()
POSITION = Position(format=FORMAT, topic="shop.events", epoch=1, offsets={0: 7, 3: 1}, written=2, until=1)


def test_a_position_comes_back_from_its_record() -> None:
    record = position_record(POSITION)
    assert record.key == KEY
    assert read_position(record.value or b"") == POSITION
    assert offsets_to_go_on(POSITION, SETTINGS) == {0: 7, 3: 1}


def test_its_key_is_no_items() -> None:
    with pytest.raises(UnicodeDecodeError):
        KEY.decode()


@pytest.mark.parametrize("changes", [{"topic": "mall.events"}, {"epoch": 2}])
def test_another_stream_is_counted_from_its_beginning(changes: dict[str, object]) -> None:
    assert offsets_to_go_on(msgspec.structs.replace(POSITION, **changes), SETTINGS) is None
    assert offsets_to_go_on(None, SETTINGS) is None


def test_what_a_later_version_wrote_is_not_counted_anew() -> None:
    with pytest.raises(DataPathError, match="later version"):
        offsets_to_go_on(msgspec.structs.replace(POSITION, format=FORMAT + 1), SETTINGS)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"format":2}'])
def test_what_is_no_position_is_none(value: bytes) -> None:
    assert read_position(value) is None
