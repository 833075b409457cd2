"""Calls the compiled loops of preferences once, so that no event has to wait for the first call."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np

from model.data.events import Event, actions_of
from model.profile.fitted_preferences import UNFITTED, Readout
from model.profile.preference_hits import PreferenceHits
from model.profile.preference_shares import PreferenceModel
from model.profile.preferences import PreferenceCounters
from model.profile.price_bands import BandTable, PriceBands
from model.state.history_rings import Histories
from model.state.sections import HEAD_BYTES


@cache
def warm_up() -> None:
    """Counts, writes, reads back and answers for one made-up user."""
    counters, histories, slots = PreferenceCounters(), Histories(1, 1), np.zeros(1, np.int64)
    counters.grow(1)
    bands = BandTable(PriceBands({"": (1, 2, 3, 4)}))
    actions = actions_of([Event("user", "view", "item", category="c", brand="b", price=1.0)], [0])
    liked = counters.count(slots, actions, np.ones(1, np.bool_), bands)
    text, _ = counters.sections(slots, histories)
    counters.clear(slots)
    counters.restore(slots, [text[HEAD_BYTES:].tobytes()], histories)
    counters.take_in(0, b"", np.zeros(1, np.uint32))
    layer = msgspec.structs.replace(UNFITTED.categories, readout=Readout([1], [[0.0], [0.0]], [0.0, 0.0]))
    fitted = msgspec.structs.replace(UNFITTED, categories=layer)
    answers = PreferenceModel(fitted, bands).answer(liked.after, np.zeros((1, 1), np.float32))
    PreferenceHits().score(slots, liked.turned_to, answers.shares.keys, 1)
