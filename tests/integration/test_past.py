"""A shop's past comes into users' states beside live traffic, each event once: real workers, in both deliveries."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_64_intdigest

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.faults.joined import all_read
from tests.faults.oracle import final_states
from tests.faults.stream import lag
from tests.integration.running import nextact
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker

PAST_MS, LIVE_MS = 1_700_000_000_000, 1_710_000_000_000
USERS, EVENTS = 300, 3000


@pytest.fixture(params=["at-least-once", "exactly-once"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"delivery": request.param})


def past_events(count: int = EVENTS) -> list[dict[str, Any]]:
    """Events in any order of time, each with a time of its own, fewer of a user than a sequence takes."""
    rng = random.Random(3)
    times = [PAST_MS + 1000 * n for n in range(EVENTS)]
    rng.shuffle(times)
    return [
        {
            "user_id": f"u{rng.randrange(USERS)}",
            "type": "view",
            "item_id": f"p{n}",
            "timestamp": times[n],
            "event_id": f"p{n}",
        }
        for n in range(count)
    ]


def live_events(begin: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(begin)
    users = [rng.randrange(USERS + 50) for _ in range(count)]
    return [
        {"user_id": f"u{user}", "type": "cart", "item_id": f"l{begin + n}", "timestamp": LIVE_MS + 1000 * (begin + n)}
        for n, user in enumerate(users)
    ]


def write(path: Path, events: list[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return str(path)


def wanted(past: list[dict[str, Any]], live: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[int]]]:
    """Of each user the items of the past, sorted, and of what was live, in its order; nobody has more than fit."""
    items: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for which, log in enumerate((past, live)):
        for event in log:
            items[event["user_id"]][which].append(xxh3_64_intdigest(event["item_id"].encode()))
    return {user: (sorted(before), after) for user, (before, after) in items.items()}


def found(settings: Settings, live: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[int]]]:
    """Does what `wanted` does, from the changelog."""
    begins = {user: len(after) for user, (_, after) in wanted([], live).items()}
    states = final_states(read_all(settings, settings.state_topic, isolation="read_committed"))
    split = {}
    for (_, user), stored in states.items():
        items = [item for _, item in stored.actions]
        assert stored.count == len(items)
        past = len(items) - begins.get(user, 0)
        split[user] = sorted(items[:past]), items[past:]
    return split


async def all_committed(settings: Settings) -> bool:
    return await lag(settings) == 0 and await all_read(settings)


def bring_in(settings: Settings, path: str) -> dict[str, Any]:
    done = nextact("history", "import", path, "--json", settings=settings)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_users_have_the_past_and_what_is_live_each_once_under_kills(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"history": str(tmp_path / "history")})
    asyncio.run(ensure_topics(settings))
    worker = start("worker")
    worker.wait_ready()
    live = live_events(0, 500)
    send_all(settings, live)
    summary = bring_in(settings, write(tmp_path / "past.jsonl", past_events(2000)))
    assert (summary["imported"], summary["users"]) == (2000, len({e["user_id"] for e in past_events(2000)}))
    worker.kill()  # somewhere in what was sent
    live += (later := live_events(500, 500))
    send_all(settings, later)
    worker = start("worker")
    worker.wait_ready()
    summary = bring_in(settings, write(tmp_path / "past.jsonl", past_events()))  # it has grown
    assert (summary["imported"], summary["known"]) == (EVENTS - 2000, 2000)
    worker.kill()
    worker = start("worker")
    worker.wait_ready()
    bring_in(settings, str(tmp_path / "past.jsonl"))  # as after a kill: all of it again
    live += (later := live_events(1000, 500))
    send_all(settings, later)
    worker.wait_until(lambda: asyncio.run(all_committed(settings)))
    assert found(settings, live) == wanted(past_events(), live)
    assert worker.metric("nextact_joins_total", "unreadable") == 0
    assert worker.metric("nextact_joins_total", "repeated") > 0
    assert worker.terminate() == 0
    predictions = read_all(settings, settings.predictions_topic, isolation="read_committed")
    sources = {decode_prediction(record.value).source for record in predictions}
    assert len(sources) == len(live)  # the past has no prediction


def test_without_the_topic_the_command_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(
        update={"history": str(tmp_path / "history"), "joins_topic": "nobody.made.it", "create_topics": False}
    )
    path = write(tmp_path / "past.jsonl", past_events(20))
    done = nextact("history", "import", path, settings=own)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "--no-states" in done.stderr
    assert nextact("history", "import", path, "--no-states", settings=own).returncode == 0
