"""How soon an item that appeared a moment ago is recommended: `python -m tests.bench fresh --events 20000`.

Broker, worker, trainer with the process that counts beside it, and a version that was trained on a simulated shop's
events: each a process of its own, as a user starts them. Then so many users view an item that nobody had seen, each
right after a well-known one of the same kind. Five seconds later a hundred other users view the well-known one, and
what counts is how many are recommended the new one, among 10. Users have a past in the shop; a crowd whose accounts are
new has none. Then the same with an item that the shop has long had and hardly anybody looks at: what it takes to push
it into a best seller's twenty. At the end the trainer is in the middle of a round, and a second worker has just begun.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from stream_app.contract.predictions import decode_prediction
from stream_app.sandbox.simulate import Shop
from stream_app.settings import Settings
from stream_app.versions.admin import promote
from tests.bench.streams import LONGEST_S, Record, Streams, fill, predictions
from tests.integration.running import Running
from tests.integration.topics import read_all

ASKED: Final = 100  # users that are asked after that
WAIT_S: Final = 5.0
ROUNDS: Final = 3  # each with other items
_PAST: Final = 10  # actions that make one
_WELL_KNOWN: Final = 90  # items, the most frequent ones: each is viewed before one crowd's item and no other's
_RARE: Final = 100  # items, the least frequent ones
_PIECE: Final = 300  # events after which to look whether a round has begun
_TOP: Final = (10, 20)  # recommendations among which the item is looked for


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who views an item after a well-known one."""

    name: str
    users: int
    new: bool = False  # accounts that are new
    times: int = 1
    last: str = "view"  # what is done with the item


CROWDS: Final = (
    Crowd("nobody", 0),
    Crowd("30 new accounts", 30, new=True),
    Crowd("300 new accounts", 300, new=True),
    Crowd("1 with a past", 1),
    Crowd("3 with a past", 3),
    Crowd("10 with a past", 10),
    Crowd("30 with a past", 30),
    Crowd("one, 30 times", 1, times=30),
    Crowd("30 who return it", 30, last="remove"),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """An item that a crowd views after a well-known one."""

    crowd: Crowd
    before: str  # the well-known item
    item: str
    users: Sequence[str]


class FreshShop:
    """Users, items and events of a shop."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rng = random.Random(1)
        day = Shop(1, start=time.time() - 86_400, rate=options.events / 80_000, items=500, users=1000)
        self.past = list(day.events(options.events))
        actions = Counter(str(event["user_id"]) for event in self.past)
        self.users = [user for user, count in actions.items() if count >= _PAST]
        found = Counter(str(event["item_id"]) for event in self.past if event.get("item_id"))
        items = [item for item, _ in found.most_common()]
        self.well_known, self.rare = items[:_WELL_KNOWN], items[-_RARE:]
        self.rng.shuffle(self.well_known)
        self._described = {str(event.get("item_id")): _description(event) for event in self.past}

    def trials(self, number: int, *, rare: bool) -> list[Trial]:
        """The trials of a round, whose items are all different: new ones, or rare ones."""
        before = [self.well_known.pop() for _ in CROWDS]  # another time two new items would compete for its answers
        pushed = self.rng.sample(self.rare, len(CROWDS))
        items = pushed if rare else [f"fresh-{number}-{n}" for n in range(len(CROWDS))]
        return [
            Trial(crowd, known, item, self._users(crowd, item))
            for crowd, known, item in zip(CROWDS, before, items, strict=True)
        ]

    def _users(self, crowd: Crowd, item: str) -> list[str]:
        if crowd.new:
            return [f"newcomer-{item}-{n}" for n in range(crowd.users)]
        return self.rng.sample(self.users, crowd.users)

    def questions(self, trial: Trial, number: int) -> list[Record]:
        """Views of the well-known item, by users that are not of the crowd; the events' ids are kept apart."""
        asked = self.rng.sample([user for user in self.users if user not in trial.users], ASKED)
        ids = [f"{number}|{trial.item}|{n}" for n in range(ASKED)]
        return [
            self._act(user, "view", trial, trial.before, event_id=id_) for user, id_ in zip(asked, ids, strict=True)
        ]

    def views(self, trial: Trial) -> list[Record]:
        """What the crowd does: each views the well-known item and then the other, which is of the same kind."""
        acts = (("view", trial.before), (trial.crowd.last, trial.item))
        users = [user for user in trial.users for _ in range(trial.crowd.times)]
        return [self._act(user, kind, trial, item) for user in users for kind, item in acts]

    def _act(self, user: str, kind: str, trial: Trial, item: str, **fields: str) -> Record:
        described = self._described.get(item, self._described[trial.before])
        return record({"user_id": user, "type": kind, "item_id": item, **described, **fields})


def fresh(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each kind of crowd, and returns the shares."""
    shop = FreshShop(options)
    settings = streams.new(
        registry=str(streams.place / "fresh-models"),
        history=str(streams.place / "fresh-history"),
        train_every=20.0,
        train_min_events=9 * options.events // 10,  # a trial's events begin no round
        recommendations=max(_TOP),
    )
    fill(settings, settings.events_topic, [record(event) for event in shop.past])
    with ExitStack() as ending:

        def start(command: str, **changes: Any) -> Running:
            place = streams.place / f"fresh-{command}-{len(changes)}"
            running = Running([command], settings.model_copy(update=changes), place.with_suffix(".log"))
            ending.callback(running.kill)
            return running

        trainer, worker = start("trainer"), start("worker")
        _promote(settings, trainer)
        worker.wait_until(lambda: bool(worker.labels("nextact_model_info", "version")), LONGEST_S, needs=[trainer])
        worker.wait_until(lambda: 0 < worker.metric("nextact_statistics_age_seconds") < WAIT_S, LONGEST_S)
        rounds = iter(range(1000))
        found = {"calm, new items": _rounds(settings, shop, [worker], rounds)}
        found["calm, rare items"] = _rounds(settings, shop, [worker], rounds, rare=True)
        _begin_round(settings, shop, trainer)
        second = start("worker", data_dir=settings.data_dir / "second")
        second.wait_ready(LONGEST_S)
        found["in a round, new items"] = _rounds(settings, shop, [worker, second], rounds)
    for when, shares in found.items():
        for crowd, share in shares.items():
            print(f"{when}: {crowd}: " + ", ".join(f"{one:.0f} among {top}" for top, one in share.items()), flush=True)
    return found


def _begin_round(settings: Settings, shop: FreshShop, trainer: Running) -> None:
    """Returns in the middle of the next round: it begins once there were enough new events."""
    more, begun = _more(shop), trainer.log.read_text().count("round begins")
    deadline = time.monotonic() + LONGEST_S
    while trainer.log.read_text().count("round begins") == begun:
        assert time.monotonic() < deadline
        fill(settings, settings.events_topic, [record(event) for event in islice(more, _PIECE)])
        time.sleep(WAIT_S)


def _promote(settings: Settings, trainer: Running) -> None:
    """Has the first round's version serve, also where the gate refuses it, as it may with so few events."""
    trainer.wait_until(lambda: '"outcome"' in trainer.log.read_text(), LONGEST_S)
    if '"outcome": "promoted"' not in trainer.log.read_text():
        version = max(path.name for path in Path(settings.registry).iterdir() if path.is_dir())
        print(asyncio.run(promote(settings, version, datetime.now(UTC))), flush=True)


def _rounds(
    settings: Settings, shop: FreshShop, workers: Sequence[Running], numbers: Iterator[int], *, rare: bool = False
) -> dict[str, dict[int, float]]:
    """Returns the mean share of answers with the item among so many, in per cent, by crowd."""
    hits: dict[str, Counter[int]] = {crowd.name: Counter() for crowd in CROWDS}
    for _ in range(ROUNDS):
        number = next(numbers)
        trials = shop.trials(number, rare=rare)
        views = [view for trial in trials for view in shop.views(trial)]
        _answered(settings, workers, views)
        time.sleep(WAIT_S)
        _answered(settings, workers, [question for trial in trials for question in shop.questions(trial, number)])
        answers = [decode_prediction(record.value) for record in read_all(settings, settings.predictions_topic)]
        for trial in trials:
            own = [one for one in answers if (one.event_id or "").startswith(f"{number}|{trial.item}|")]
            assert len(own) == ASKED
            ranked = [[each.item_id for each in one.recommendations] for one in own]
            for top in _TOP:
                hits[trial.crowd.name][top] += sum(trial.item in items[:top] for items in ranked)
    return {crowd: {top: one[top] / ROUNDS for top in _TOP} for crowd, one in hits.items()}


def _answered(settings: Settings, workers: Sequence[Running], records: Sequence[Record]) -> None:
    before = predictions(workers)
    fill(settings, settings.events_topic, records)
    workers[0].wait_until(lambda: predictions(workers) >= before + len(records), LONGEST_S, needs=workers[1:])


def _more(shop: FreshShop) -> Iterator[dict[str, Any]]:
    """The past once more, as events of the present."""
    for one in shop.past:
        yield {name: value for name, value in one.items() if name not in ("timestamp", "event_id")}


def record(one: dict[str, Any]) -> Record:
    """An event as key and value."""
    return str(one["user_id"]).encode(), json.dumps(one).encode()


def _description(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("category", "brand") if one.get(name)}
