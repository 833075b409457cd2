"""`nextact users show` and `nextact profiles`: users of a running worker, as people read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.promotions import publish_promotion
from tests.integration.running import Running, nextact
from tests.integration.test_end_to_end import shop_events, wait_answered
from tests.integration.topics import send_all
from tests.versions import untrained_version

pytestmark = pytest.mark.broker


def test_a_user_is_shown_with_their_newest_state_and_prediction(
    settings: Settings, start: Callable[..., Running]
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(600))
    worker = start("worker")
    worker.wait_ready()
    newest = wait_answered(worker, settings).predictions[-1][1]
    user = newest.user_id
    answers = [one for _, one in wait_answered(worker, settings).predictions if one.user_id == user]

    views: list[Any] = []

    def shown() -> bool:  # the state is written a moment after the prediction
        found = nextact("users", "show", user, "--json", settings=settings)
        views[:] = [json.loads(found.stdout)] if found.returncode == 0 else []
        return bool(views) and views[0]["actions"] == answers[-1].history_length

    worker.wait_until(shown, every=1)
    (view,) = views
    assert decode_prediction(json.dumps(view["prediction"]).encode()) == answers[-1]
    assert view["history"][0]["type"] == answers[-1].event_type
    plain = nextact("users", "show", user, settings=settings)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.startswith(f"{user}: {answers[-1].history_length} actions, the last one ")
    assert "looked at " in plain.stderr
    nobody = nextact("users", "show", "nobody", settings=settings)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "user 'nobody' is not known on partition " in nobody.stderr


def test_all_users_are_written_as_the_worker_answered_them_last(
    settings: Settings, start: Callable[..., Running], tmp_path: Path
) -> None:
    asyncio.run(ensure_topics(settings))
    refused = nextact("profiles", "--out", str(tmp_path / "none.parquet"), settings=settings)
    assert (refused.returncode, "no version serves yet" in refused.stderr) == (2, True)
    asyncio.run(publish_promotion(untrained_version(Path(settings.registry) / "v1", items=300), settings))
    send_all(settings, shop_events(800))
    worker = start("worker")
    worker.wait_ready()
    newest = {one.user_id: one for _, one in wait_answered(worker, settings).predictions}
    assert worker.terminate() == 0
    done = nextact("profiles", "--out", str(tmp_path / "profiles.parquet"), settings=settings)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "profiles.parquet").to_pylist()
    assert {row["user_id"] for row in rows} == set(newest)
    assert len(rows) == len(newest)
    for row in rows:
        last = newest[row["user_id"]]
        assert (row["actions"], row["model_version"]) == (last.history_length, last.model_version)
        assert row["purchase_probability"] == pytest.approx(last.purchase_probability, abs=1e-5)
        assert len(row["state"]) == settings.hidden
    same = [row["next_items"][0] == newest[row["user_id"]].recommendations[0].item_id for row in rows]
    assert sum(same) > 0.98 * len(same)  # a state is kept in halves
    assert not list(tmp_path.glob("*.partial"))
