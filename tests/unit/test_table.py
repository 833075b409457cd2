"""What recovery makes of the changelog, a fetch at a time."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.types import TP

from model.fold import Fold
from model.record import pack
from model.states import UserStates
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


def recovered(*fetches: list[bytes | None]) -> UserStates:
    """States after fetches of one user's records."""
    states = make_states()
    fold = Fold(states, rules_share=0)
    store = UsersStore(
        "memory://", SimpleNamespace(), None, table_name="users", fold=fold, settings=SETTINGS, fail=pytest.fail
    )
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
def test_the_newest_record_of_a_user_counts_wherever_it_stands(fetches: list[list[bytes | None]]) -> None:
    states = recovered(*fetches)
    slot = states.slot(0, "u")
    assert slot is not None
    assert states.offsets[slot] == 7


def test_a_removed_user_stays_removed() -> None:
    assert recovered([stored(3), None]).slot(0, "u") is None
