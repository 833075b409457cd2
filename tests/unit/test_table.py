"""What recovery makes of the changelog, a fetch at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.types import TP

from model.fold import Fold
from model.record import pack
from model.states import UserStates
from stream_app.local_store import LocalStore
from stream_app.settings import load_settings
from stream_app.table import UsersStore
from tests.unit.builders import make_states

SETTINGS = load_settings()
CHANGELOG = TP(SETTINGS.state_topic, 0)


def stored(offset: int, *, epoch: int = 1) -> bytes:
    """A user's record after the event at an offset."""
    states = make_states(epoch=epoch)
    snapshot = states.snapshot(states.slots_of([0], ["u"]))
    (record,) = pack(replace(snapshot, offsets=np.array([offset]), counts=np.array([offset])))
    return record


def recovered(place: Path, *fetches: list[bytes | None]) -> UserStates:
    """States over the store after fetches of one user's records."""
    local = LocalStore(place, topic=SETTINGS.state_topic, epoch=1, clock=lambda: 0.0)
    local.open(0, 0, 1.0)
    states = make_states(stored=local.read)
    fold = Fold(states, rules_share=0)
    parts: Any = {"fold": fold, "store": local, "settings": SETTINGS, "fail": pytest.fail}
    store = UsersStore("memory://", SimpleNamespace(), None, table_name="users", **parts)
    offset = 0
    for values in fetches:
        records: list[Any] = [
            SimpleNamespace(key=b"u", value=value, offset=offset + n) for n, value in enumerate(values)
        ]
        offset += len(values)
        store.apply_changelog_batch(
            [SimpleNamespace(message=SimpleNamespace(tp=CHANGELOG, value=records, offset=offset - 1))]
        )
        assert store.persisted_offset(CHANGELOG) == offset - 1
    states.slots_of([0], ["u"])
    local.stop()
    return states


@pytest.mark.parametrize(
    "fetches",
    [
        [[stored(3), stored(7)]],
        [[stored(7), stored(3)]],  # the second is of a worker that had lost the partition without knowing
        [[stored(7)], [stored(3)]],
        [[stored(9, epoch=0), stored(7)]],  # offsets of an older stream say nothing
    ],
)
def test_the_newest_record_of_a_user_counts_wherever_it_stands(
    tmp_path: Path, fetches: list[list[bytes | None]]
) -> None:
    states = recovered(tmp_path, *fetches)
    slot = states.slot(0, "u")
    assert slot is not None
    assert states.offsets[slot] == 7


def test_a_removed_user_stays_removed(tmp_path: Path) -> None:
    assert recovered(tmp_path, [stored(3)], [None]).returned == 0
