"""Rows of users in a Parquet file; what the predictions say is the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from stream_app.contract.predictions import (
    NamedShare,
    Prediction,
    Preferences,
    PriceBand,
    Recommendation,
    Segment,
    Source,
)
from stream_app.people.all_states import StatesOfUsers
from stream_app.people.profile_rows import write_profiles
from stream_app.pipeline.batches import AskedUsers


def prediction(user: str, actions: int) -> bytes:
    said = Prediction(
        prediction_id="1",
        user_id=user,
        event_id=None,
        event_type="view",
        event_timestamp=1_700_000_000_000,
        source=Source(0, 0),
        model_version="v1",
        history_length=actions,
        next_type={},
        next_actions=[],
        recommendations=[Recommendation("b", 0.5), Recommendation("a", 0.25)],
        purchase_probability=0.25,
        return_probability=0.5,
        preferences=Preferences([NamedShare("shoes", 0.75)], [], PriceBand(None, 20, "EUR")) if actions > 1 else None,
        segment=Segment(3, "new", 0.5),
    )
    return msgspec.json.encode(said)


async def users() -> AsyncIterator[StatesOfUsers]:
    yield StatesOfUsers(2, {"ada": b"", "bob": b"", "gone": b""})
    yield StatesOfUsers(5, {"cy": b""})


def ask(of: StatesOfUsers) -> AskedUsers:
    actions = {"ada": 2, "bob": 1, "gone": 0, "cy": 9}
    said = [prediction(user, actions[user]) for user in of.records]
    return AskedUsers(said, np.arange(4 * len(said), dtype=np.float16).reshape(-1, 4))


def test_who_did_something_has_a_row(tmp_path: Path) -> None:
    path = tmp_path / "profiles.parquet"
    assert asyncio.run(write_profiles(path, users(), ask, 4)) == 3
    rows = pq.read_table(path).to_pylist()
    assert [(row["user_id"], row["partition"], row["actions"]) for row in rows] == [
        ("ada", 2, 2),
        ("bob", 2, 1),
        ("cy", 5, 9),
    ]
    assert rows[0]["categories"] == [{"name": "shoes", "share": 0.75}]
    assert (rows[0]["price_low"], rows[0]["price_high"], rows[0]["price_currency"]) == (None, 20, "EUR")
    assert (rows[1]["categories"], rows[1]["leave_probability"], rows[1]["return_probability"]) == (None, None, 0.5)
    assert [row["state"] for row in rows] == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert rows[2]["next_items"] == ["b", "a"]
    assert rows[2]["last_action"].isoformat() == "2023-11-14T22:13:20+00:00"


def test_a_file_is_complete_or_not_there(tmp_path: Path) -> None:
    def broken(_: StatesOfUsers) -> AskedUsers:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(write_profiles(tmp_path / "profiles.parquet", users(), broken, 4))
    assert not list(tmp_path.iterdir())
