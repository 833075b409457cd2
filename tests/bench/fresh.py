"""How soon an item that appeared a moment ago is recommended: `python -m tests.bench fresh --events 20000`.

Broker, worker, trainer with the process that counts beside it, and a version that was trained on a simulated shop's
events: each a process of its own, as a user starts them. Then so many users view an item that nobody had seen, each
right after a well-known one of the same kind. Five seconds later a hundred other users view the well-known one, and
what counts is how many are recommended the new one, among 10. Users have a past in the shop; a crowd whose accounts are
new has none. At the end the trainer is in the middle of a round, and a second worker has just begun.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from stream_app.contract.predictions import decode_prediction
from stream_app.sandbox.simulate import Shop
from stream_app.settings import Settings
from tests.bench.streams import LONGEST_S, Record, Streams, fill, predictions
from tests.integration.running import Running
from tests.integration.topics import read_all

CROWDS: Final = (1, 3, 10, 30)  # users that view a new item
ASKED: Final = 100  # users that are asked after that
WAIT_S: Final = 5.0
ROUNDS: Final = 3  # each with other items
_PAST: Final = 10  # actions that make one
_WELL_KNOWN: Final = 40  # items, the most frequent ones


@dataclass(frozen=True, slots=True)
class Trial:
    """A new item that a crowd views after a well-known one."""

    crowd: str  # how many users, and which
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
        self.well_known = [item for item, _ in found.most_common(_WELL_KNOWN)]
        self._described = {str(event.get("item_id")): _description(event) for event in self.past}

    def trials(self, number: int) -> list[Trial]:
        """The trials of a round, whose well-known items are all different."""
        items = self.rng.sample(self.well_known, len(CROWDS) + 1)
        known = [
            Trial(f"{count} with a past", item, f"fresh-{number}-{count}", self.rng.sample(self.users, count))
            for count, item in zip(CROWDS, items[1:], strict=True)
        ]
        newcomers = [f"newcomer-{number}-{n}" for n in range(CROWDS[-1])]
        return [Trial(f"{CROWDS[-1]} without", items[0], f"fresh-{number}-none", newcomers), *known]

    def questions(self, trial: Trial) -> list[Record]:
        """Views of the well-known item, by users that are not of the crowd; the events' ids are kept apart."""
        asked = self.rng.sample([user for user in self.users if user not in trial.users], ASKED)
        return [self._view(user, trial, trial.before, event_id=f"{trial.item}|{n}") for n, user in enumerate(asked)]

    def views(self, trial: Trial) -> list[Record]:
        """What the crowd does: each views the well-known item and then the new one, which is of the same kind."""
        return [self._view(user, trial, item) for user in trial.users for item in (trial.before, trial.item)]

    def _view(self, user: str, trial: Trial, item: str, **fields: str) -> Record:
        return record({"user_id": user, "type": "view", "item_id": item, **self._described[trial.before], **fields})


def fresh(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each kind of crowd, and returns the shares."""
    shop = FreshShop(options)
    settings = streams.new(
        registry=str(streams.place / "fresh-models"), history=str(streams.place / "fresh-history"), train_every=20.0
    )
    fill(settings, settings.events_topic, [record(event) for event in shop.past])
    with ExitStack() as ending:

        def start(command: str, **changes: Any) -> Running:
            place = streams.place / f"fresh-{command}-{len(changes)}"
            running = Running([command], settings.model_copy(update=changes), place.with_suffix(".log"))
            ending.callback(running.kill)
            return running

        trainer, worker = start("trainer"), start("worker")
        worker.wait_until(lambda: bool(worker.labels("nextact_model_info", "version")), LONGEST_S, needs=[trainer])
        worker.wait_until(lambda: 0 < worker.metric("nextact_statistics_age_seconds") < WAIT_S, LONGEST_S)
        found = {"calm": _rounds(settings, shop, [worker], range(ROUNDS))}
        fill(settings, settings.events_topic, [record(event) for event in _more(shop, settings.train_min_events)])
        worker.wait_until(lambda: trainer.log.read_text().count("round begins") > 1, LONGEST_S, needs=[trainer])
        second = start("worker", data_dir=settings.data_dir / "second")
        second.wait_ready(LONGEST_S)
        found["in a round"] = _rounds(settings, shop, [worker, second], range(ROUNDS, 2 * ROUNDS))
    for when, shares in found.items():
        print(f"{when}: " + ", ".join(f"{crowd} {share:.0f}" for crowd, share in shares.items()), flush=True)
    return found


def _rounds(settings: Settings, shop: FreshShop, workers: Sequence[Running], numbers: range) -> dict[str, float]:
    """Returns the mean share of answers with the new item, in per cent, by crowd."""
    hits: Counter[str] = Counter()
    for number in numbers:
        trials = shop.trials(number)
        views = [view for trial in trials for view in shop.views(trial)]
        _answered(settings, workers, views)
        time.sleep(WAIT_S)
        _answered(settings, workers, [question for trial in trials for question in shop.questions(trial)])
        answers = [decode_prediction(record.value) for record in read_all(settings, settings.predictions_topic)]
        for trial in trials:
            own = [one for one in answers if (one.event_id or "").startswith(f"{trial.item}|")]
            assert len(own) == ASKED
            hits[trial.crowd] += sum(trial.item in [each.item_id for each in one.recommendations] for one in own)
    return {crowd: count / len(numbers) for crowd, count in hits.items()}


def _answered(settings: Settings, workers: Sequence[Running], records: Sequence[Record]) -> None:
    before = predictions(workers)
    fill(settings, settings.events_topic, records)
    workers[0].wait_until(lambda: predictions(workers) >= before + len(records), LONGEST_S, needs=workers[1:])


def _more(shop: FreshShop, count: int) -> Iterator[dict[str, Any]]:
    """So many events more, of the present."""
    for one in shop.past[: 2 * count]:
        yield {name: value for name, value in one.items() if name not in ("timestamp", "event_id")}


def record(one: dict[str, Any]) -> Record:
    """An event as key and value."""
    return str(one["user_id"]).encode(), json.dumps(one).encode()


def _description(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("category", "brand") if one.get(name)}
