"""Events as any publisher may send them: extreme times, numbers and texts, with and without what the contract wants."""

from __future__ import annotations

from hypothesis import strategies as st

from model.data.events import EVENT_TYPES

INT64 = st.sampled_from([-(2**63), 1 - 2**63, -(10**18), -1, 0, 1, 2**31, 10**12, 10**18, 2**63 - 1]) | st.integers(
    -(2**63), 2**63 - 1
)
ID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6) | st.sampled_from(
    ["a", "\0" * 256, "\U0001f600" * 256]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["", "\x7f" * 5000])
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, -0.0, 5e-324, 1.7e308, -1e308, 10**300])
TIME = (
    st.none()
    | INT64
    | NUMBER
    | st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-31t12:00:00z", "", "now"])
)
ANY_EVENT = st.fixed_dictionaries(
    {"user_id": ID, "type": st.sampled_from([*EVENT_TYPES, "Order Completed", "VIEW_ITEM"])},
    optional={
        "item_id": ID,
        "query": TEXT,
        "timestamp": TIME,
        "event_id": TEXT,
        "session_id": TEXT,
        "category": TEXT,
        "brand": TEXT,
        "currency": TEXT,
        "price": NUMBER,
        "quantity": NUMBER,
    },
)
