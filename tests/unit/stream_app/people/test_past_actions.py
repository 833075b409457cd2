"""What a record remembers; `test_user_view` has it for people."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.events import Event, item_key
from model.errors import RecordCorrupt
from model.state.user_record import pack
from stream_app.people.past_actions import remembered_past
from tests.unit.builders.basics import Logged
from tests.unit.builders.engines import make_engines


def test_the_past_is_named_newest_first_and_a_search_has_no_item() -> None:
    engines = make_engines()
    for offset, (kind, item, time) in enumerate([("view", "a", 0), ("search", "b", 5_000), ("cart", "c", 65_000)]):
        event = Event(user_id="u", type=kind, item_id=None if kind == "search" else item, query=item)
        engines.advance([Logged(event, time, offset)])
    record = pack(engines.states.snapshot(np.array([0])))[0]
    names = {item_key("a"): "a"}
    past = remembered_past(record, lambda keys: [names.get(key, "") for key in keys.tolist()])
    assert (past.actions, past.last_time) == (3, 65_000)
    assert [(one.type, one.item_id) for one in past.history] == [("cart", None), ("search", None), ("view", "a")]
    assert past.history[0].seconds_before == 0
    assert past.history[2].seconds_before == pytest.approx(65, rel=0.4)
    with pytest.raises(RecordCorrupt):
        remembered_past(record[:-1], lambda keys: [""] * len(keys))
