"""What a user costs with the default network and ring: in memory, and as the record that the changelog holds."""

from __future__ import annotations

import numpy as np
import torch

from model.data.events import Event, actions_of
from model.network.backbones import BACKBONES
from model.state.user_record import pack
from model.state.user_states import UserStates
from stream_app.settings import Settings

KIB = 1024


def default_states(slots: int) -> UserStates:
    settings = Settings()
    backbone = BACKBONES[settings.backbone](settings.hidden, settings.hidden)
    return UserStates(
        hidden=backbone.state_size,
        length=settings.history_length,
        epoch=1,
        device=torch.device("cpu"),
        slots=slots,
    )


def test_hidden_state_and_ring_are_at_most_a_kib() -> None:
    states = default_states(slots=10)
    rings = states.histories.item_keys.nbytes + states.histories.contexts.nbytes
    assert (states.hidden.nbytes + rings) / 10 <= KIB


def test_all_that_is_kept_of_a_user_is_less_than_a_fifth_more() -> None:
    # Last event ids (128 bytes), offset, times, session, the version's mark; in the record a header too.
    states = default_states(slots=10)
    assert (states.nbytes - states.searches.table.nbytes) / 10 == 1192
    slots = states.slots_of([0] * 100, ["ada"] * 100)
    events = [Event(user_id="ada", type="view", item_id=f"item {n}") for n in range(100)]
    states.histories.append(slots, actions_of(events, range(100)).item_keys, np.zeros(100, np.uint32))
    (record,) = pack(states.snapshot(slots[:1]))
    assert len(record) == 1207
