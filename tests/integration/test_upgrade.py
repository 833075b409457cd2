"""Workers of this version and of the one before in one group, there and back, while they are killed.

A change of a format that outlives a process extends this test.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry

from model.data.events import SEARCH, Event, actions_of
from model.data.price_bins import PriceBins
from model.network.network import LARGE_WORDS, SMALL_WORDS, WordRows
from model.serving.serving import serve_files
from model.state.user_record import FIRST_VERSION, pack
from model.state.user_states import UserStates
from model.versions.manifest import FORMAT, FORMAT_BEFORE, read_files
from stream_app.history.tables import events_table
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, publish_promotion
from stream_app.worker.warm_up import process
from tests.faults.load import Mix, Publisher, records
from tests.faults.oracle import Topics, compare_hidden, final_states, judge
from tests.faults.questions import ask
from tests.faults.replay import replay
from tests.faults.stream import caught_up, lag
from tests.faults.supervisor import Slot, Supervisor
from tests.faults.waiting import until
from tests.integration.topics import Record, read_topics
from tests.older import older_code, run_older
from tests.unit.builders.histories import NOON, Reader, Topic, close_all, open_history
from tests.versions import untrained_version

MIX: Final = Mix(users=60, poison=0.0, baskets=0.0, batches=0.0, noise=0.0)  # what the version before knows
RATE: Final = 200.0  # records per second
A_WHILE: Final = 200  # records


@pytest.fixture(scope="module")
def older(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return older_code(pytestconfig.cache.mkdir("older"))  # kept, so that its loops are compiled once


class Upgrade:
    """Two workers, each of a version that changes, and a load."""

    def __init__(self, settings: Settings, place: Path, older: Path) -> None:
        self.settings, self._older = settings, older
        self.supervisor = Supervisor(settings, place)
        self.publisher = Publisher(settings, records(MIX, 1, round(time.time() * 1000)), RATE)
        self.slots = [self.supervisor.add() for _ in range(2)]
        for slot in self.slots:
            slot.settings = slot.settings.model_copy(update={"instance_id": slot.name})
            self.of_before(slot)

    def of_before(self, *slots: Slot) -> None:
        """The next processes are of the version before."""
        for slot in slots:
            slot.code = self._older

    def of_now(self, *slots: Slot, write_format: str = "previous") -> None:
        """The next processes are of this version."""
        for slot in slots:
            slot.code = None
            slot.settings = slot.settings.model_copy(update={"write_format": write_format})

    async def kill(self, *slots: Slot) -> None:
        """Kills the processes; returns when their successors answer, and have answered for a while."""
        ends = [len(self.supervisor.exits_of(slot)) for slot in slots]
        for slot in slots:
            self.supervisor.send(slot, signal.SIGKILL)
        for slot, known in zip(slots, ends, strict=True):
            await self.supervisor.ended(slot, known)
        await self.go_on()

    async def go_on(self) -> None:
        """Returns when the workers answer, and have answered some records more."""
        await self.supervisor.ready(timeout=300)  # loops may have to be compiled
        until_then = self.publisher.acknowledged + A_WHILE

        async def done() -> bool:
            behind = await lag(self.settings)
            return behind is not None and self.publisher.acknowledged - behind > until_then

        await until(done, 60, "some records more answered", every=1.0)


async def there_and_back(upgrade: Upgrade) -> None:
    one, other = upgrade.slots
    await upgrade.go_on()
    upgrade.of_now(one)
    await upgrade.kill(one)  # old and new
    await check_questions(one)
    upgrade.of_now(other)
    await upgrade.kill(other)  # new only
    upgrade.of_before(one, other)
    await upgrade.kill(one, other)  # old only again
    upgrade.of_now(one, other, write_format="current")
    await upgrade.kill(one, other)  # new for good
    await check_questions(one, other, refused=False)


async def check_questions(*new: Slot, refused: bool = True) -> None:
    """New workers answer for all users of theirs; of those of an older worker they say that it is to be upgraded."""
    async with ClientSession() as session:
        asked = [await ask(session, slot, f"u{number}") for slot in new for number in range(MIX.users)]
    assert {one.status for one in asked} == {200, *([503] if refused else [])}
    refusals = [one.content["error"] for one in asked if one.status == 503]
    assert {one["code"] for one in refusals} <= {"owner_unreachable"}
    assert all("upgraded" in one["message"] for one in refusals)


async def run(upgrade: Upgrade) -> None:
    supervisor, publisher = upgrade.supervisor, upgrade.publisher
    try:
        async with asyncio.TaskGroup() as tasks:
            looking_after = tasks.create_task(supervisor.run())
            await supervisor.ready(timeout=300)
            publishing = tasks.create_task(publisher.run())
            await there_and_back(upgrade)
            publisher.stop()
            await publishing
            assert await caught_up(upgrade.settings, 60) is not None
            looking_after.cancel()
    finally:
        await supervisor.stop()


@pytest.mark.broker
def test_old_and_new_workers_take_turns(settings: Settings, tmp_path: Path, older: Path) -> None:
    changes = {"ranked_by": "network"}  # of which less has to be compiled for old workers
    settings = settings.model_copy(update=changes | {"session_timeout": 30.0})  # in which they get their places back
    promotion = untrained_version(Path(settings.registry) / "v1", MIX.items, number=FORMAT_BEFORE)
    asyncio.run(prepare(settings, promotion))
    upgrade = Upgrade(settings, tmp_path / "workers", older)
    asyncio.run(run(upgrade))
    names = (settings.events_topic, settings.predictions_topic, settings.dead_letters_topic, settings.state_topic)
    log, predictions, dead_letters, changelog = read_topics(settings, *names)
    assert len(log) == upgrade.publisher.acknowledged
    verdict = judge(
        replay(log, settings.history_length),
        Topics(list(predictions), list(dead_letters), list(changelog)),
        epoch=settings.stream_epoch,
        topic=settings.events_topic,
        profiles=False,
    )
    compare_hidden(verdict, changelog, uninterrupted(settings, log, promotion))
    assert verdict.examples == []
    assert (verdict.lost, verdict.wrong_answers, verdict.wrong_states) == (0, 0, 0)
    assert dead_letters == []
    assert {prediction_version(one) for one in predictions} == {"v1"}
    assert {exit_.code for exit_ in upgrade.supervisor.exits if not exit_.as_asked} == set()
    for slot in upgrade.slots:
        text = slot.log.read_text(errors="replace")
        assert "was left out" not in text  # a damaged record
        assert "refused" not in text  # a version
    assert {record.value[0] for record in changelog} == {1, 2}, "layouts of records"
    assert {stored.version for stored in final_states(changelog).values()} == {2}


async def prepare(settings: Settings, promotion: Promotion) -> None:
    await ensure_topics(settings)
    await publish_promotion(promotion, settings)


def uninterrupted(settings: Settings, log: Sequence[Record], promotion: Promotion) -> list[Any]:
    """The changelog of one worker of this version that reads everything, in this process."""
    device = torch.device(settings.device)
    engine = new_engine(settings, device)
    files = read_files(str(Path(settings.registry) / promotion.version), promotion.manifest_sha256)
    engine.serve(serve_files(files, hidden=settings.hidden, device=device, ranked_by=settings.ranked_by)[1])
    pipeline = Pipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.monotonic)
    numbers = count()
    return [
        Record(settings.state_topic, result.partition, next(numbers), 0, 0, key, value, None, 0, 0, ())
        for start in range(0, len(log), settings.batch_size)
        for result in process(pipeline, log[start : start + settings.batch_size])
        for key, value in result.states
    ]


def prediction_version(prediction: Record) -> Any:
    return json.loads(prediction.value)["model_version"]


READ_RECORDS: Final = """
import json, sys
from model.state.user_record import unpack
records = [bytes.fromhex(text) for text in json.loads(sys.argv[1])]
stored = unpack(records, epoch=1, hidden=8, ids=16)
assert not stored.faults, stored.faults
rows = stored.rows
print(json.dumps([
    [row["offset"].item(), row["count"].item(), row["event_ids"].tolist(), row["hidden"].tolist(),
     row["actions"][: row["actions_size"]].tolist()] for row in rows
]))
"""


def test_the_version_before_reads_records_of_this_one(older: Path) -> None:
    done = [("a", "view", "x"), ("b", "search", "red shoes"), ("b", "cart", "y"), ("a", "purchase", "x")]
    done += [("b", "search", "红色跑鞋"), ("a", "search", "Ｒｅｄ shoes")]  # noqa: RUF001 - which have other words to it
    states = UserStates(hidden=8, length=5, epoch=1, device=torch.device("cpu"))
    events = [Event(user_id=user, type=kind, item_id=text, query=text, event_id=text) for user, kind, text in done]
    actions = actions_of(events, range(len(events)))
    slots = states.slots_of([0] * len(events), actions.users)
    states.add_searches(actions.queries)
    states.histories.append(slots, actions.item_keys, actions.types.astype(np.uint32))
    states.remember(slots, actions)
    states.offsets[slots] = range(len(events))
    states.hidden[torch.from_numpy(slots)] = 0.5
    states.set_section(int(slots[0]), 70, b"of a later version")
    current = states.snapshot(np.unique(slots))
    states.version = FIRST_VERSION
    previous = states.snapshot(np.unique(slots))
    found = [read_by(older, pack(snapshot)) for snapshot in (current, previous)]
    assert found[1] == read_by(Path(__file__).parents[2], pack(previous))
    for new, old in zip(*found, strict=True):
        assert new[:4] == old[:4]
        assert [action for action in new[4] if action[1] != SEARCH] == [one for one in old[4] if one[1] != SEARCH]
        assert [action[1] for action in new[4]] == [one[1] for one in old[4]]


def read_by(code: Path, packed: list[bytes]) -> Any:
    return json.loads(run_older(code, READ_RECORDS, json.dumps([record.hex() for record in packed])))


READ_VERSION: Final = """
import sys
import torch
from model.errors import VersionRefused
from model.versions.version import load
try:
    version = load(sys.argv[1], sys.argv[2])
    print(version.name, len(version.vocabulary))
except VersionRefused as refusal:
    print("refused", refusal.reason)
"""


def test_the_version_before_reads_a_model_of_this_one_unless_it_has_more_words(older: Path, tmp_path: Path) -> None:
    bins = PriceBins({"EUR": range(14)})
    cases: list[tuple[str, WordRows, int, str]] = [
        ("v1", SMALL_WORDS, FORMAT_BEFORE, "v1 9"),
        ("v2", LARGE_WORDS, FORMAT_BEFORE, "refused shape"),
        ("v3", SMALL_WORDS, FORMAT, "refused format"),
    ]
    for name, words, number, found in cases:
        promotion = untrained_version(tmp_path / name, 9, word_rows=words, bins=bins, number=number)
        assert run_older(older, READ_VERSION, str(tmp_path / name), promotion.manifest_sha256).strip() == found


READ_HISTORY: Final = """
import json, sys
from stream_app.history.event_history import EventHistory
from stream_app.history.storage import HistoryStorage
history = EventHistory(HistoryStorage(sys.argv[1]))
print(json.dumps([[one.users, one.items, one.types.tolist(), one.times.tolist()] for one in history.chunks(99)]))
history.close()
"""


def test_the_version_before_reads_a_history_of_this_one(older: Path, tmp_path: Path) -> None:
    topic = Topic()
    for number in range(9):
        topic.add(number % 2, user=f"u{number % 3}", time=NOON + number)
        topic.add(number % 2, user="u1", time=NOON + number, type="search", query="red shoes")
    Reader(tmp_path / "history", topic, table=events_table("previous")).take_all().append().close()
    history = open_history(tmp_path / "history")
    wanted = [[one.users, one.items, one.types.tolist(), one.times.tolist()] for one in history.chunks(99)]
    close_all()
    assert json.loads(run_older(older, READ_HISTORY, str(tmp_path / "history"))) == wanted
    assert sum(len(users) for users, *_ in wanted) == 18
