"""A catalogue on disk is the same when it is read again, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.items.item import Item, Offer
from stream_app.following.content import Origin
from stream_app.following.snapshots import SnapshotRefused
from stream_app.items.details import DetailsFiles
from stream_app.items.snapshot import read_head, read_snapshot, write_snapshot
from tests.unit.builders.catalogues import ORIGIN, catalogue_of, head
from tests.unit.builders.items import items

ITEMS = st.lists(items(st.integers(0, 99).map(str)), max_size=6, unique_by=lambda item: item.item_id)
SHOES = [Item("7", title="Shoe", tags=("a",), markets={"CH": Offer(3.0, "CHF", True)}), Item("8"), Item("9")]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(ITEMS, st.integers(0, 6))
def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path, items: list[Item], removed: int) -> None:
    catalogue, details = catalogue_of(items, tmp_path)
    catalogue.apply([], [], [item.item_id for item in items[:removed]])
    details.begin(write_snapshot(tmp_path / "snapshot", head(p0=5, p3=7), catalogue, details))
    file = (tmp_path / "snapshot").open("rb")
    read, again = read_snapshot(file, ORIGIN)
    others = DetailsFiles(tmp_path)
    others.begin(file)
    assert read.offsets == {0: 5, 3: 7}
    assert {item.item_id: item for item in again} == {item.item_id: item for item in items[removed:]}
    for n, item in enumerate(items[removed:], removed):
        row = again.row_of(item.item_id)
        wanted = b"" if n % 3 == 2 else item.item_id.encode()
        assert others.get(int(again.column("details")[row])) == wanted
        assert details.get(int(catalogue.column("details")[catalogue.row_of(item.item_id)])) == wanted
    again.apply([Item("new", title="t")], [0])
    assert len(again) == len(items[removed:]) + 1
    details.close()
    others.close()


def written(folder: Path) -> Path:
    catalogue, details = catalogue_of(SHOES, folder)
    details.begin(write_snapshot(folder / "snapshot", head(p0=5), catalogue, details))
    details.close()
    return folder / "snapshot"


def refusal(path: Path, origin: Origin = ORIGIN) -> str:
    with path.open("rb") as file, pytest.raises(SnapshotRefused) as refused:
        read_snapshot(file, origin)
    return str(refused.value)


def test_a_snapshot_of_another_topic_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert "shop.items of cluster cluster" in refusal(path, Origin("cluster", "mall.items"))
    assert "cluster" in refusal(path, Origin("other", "shop.items"))


def test_a_snapshot_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"format":2', b'"format":3'))
    assert refusal(path) == "it has format 3, this nextact reads format 2"
    assert read_head(path) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\xff", b"[" * 3000, b'{"format":2}\n'])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot"
    path.write_bytes(content)
    assert "does not begin as a snapshot does" in refusal(path)
    assert read_head(path) is None


def test_damage_anywhere_before_the_details_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    details = whole.index(b"7", whole.index(b"\n") + 32 + 3 * 64)  # behind the columns
    for at in range(0, details, 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert refusal(path)
    for size in range(0, details, 17):
        path.write_bytes(whole[:size])
        assert refusal(path)


def test_a_head_that_claims_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"rows":3', b'"rows":900000000000'))
    assert refusal(path) == "it is cut off"


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    catalogue, details = catalogue_of(SHOES[:1], tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(path, head(p0=9), catalogue, details)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["snapshot"]
    details.close()
