"""Runs a worker's pipeline over a log in the log's own time, and takes down what it says of its own answers.

Users' states, statistics, rules and items learn as the log passes; every event first scores the answer before it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from model.data.events import SEARCH, Actions
from model.evaluation.evaluate import learned_rules
from model.evaluation.live_scores import LiveScores, Touches, ranks_of, target_kinds
from model.evaluation.split import Split
from model.items.catalogue import ItemCatalogue
from model.rounds.fit_model import Model
from model.rounds.training_round import unsaved
from model.serving.rules import Rules
from model.serving.serving import serve
from model.state.taken_past import take_past
from model.statistics.counter import StatisticsCounter
from model.statistics.log_statistics import counter_of
from model.statistics.statistics_table import StatisticsTable
from model.versions.version import Version
from stream_app.contract.string_columns import strings
from stream_app.kafka.key_partitions import key_partitions
from stream_app.offline.live_log import LiveLog, batches
from stream_app.pipeline.batches import AnsweredBatch
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings

_SOURCE: Final = 1  # of the past, as users remember it


class DelayedStatistics:
    """Statistics that get to know of a batch only so much later, in the log's time."""

    def __init__(self, counter: StatisticsCounter, lag: float) -> None:
        """`lag` in seconds."""
        self._counter = counter
        self._lag_ms = 1000 * lag
        self._waiting: deque[tuple[int, Actions]] = deque()  # when each batch was, ms

    def up_to_date(self) -> AbstractContextManager[StatisticsTable]:
        """See `StatisticsSource`: what is known so far."""
        return nullcontext(self._counter.table)

    def catch_up(self, now: int) -> None:
        """Takes in what was known by now (ms)."""
        while self._waiting and self._waiting[0][0] + self._lag_ms <= now:
            self._counter.learn(self._waiting.popleft()[1])

    def tell(self, moment: int, actions: Actions) -> None:
        """Notes a batch that was answered, whose last event came at a moment (ms)."""
        self._waiting.append((moment, actions))


@dataclass(frozen=True, slots=True)
class LiveModel:
    """What answers, and what the rules beside it have learned before the log."""

    version: Version
    rules: Rules
    counter: StatisticsCounter | None = None  # of live statistics; None: the version's own, which stand still


def live_model(model: Version | Model, split: Split) -> LiveModel:
    """Returns a model as it begins a log, with statistics and rules that have learned what was before."""
    version = unsaved(model) if isinstance(model, Model) else model
    return LiveModel(version, learned_rules(split.known), counter_of(split.known))


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A log and what is to answer it."""

    model: LiveModel
    log: LiveLog
    lag: float = 0.0  # seconds that statistics are late
    catalogue: ItemCatalogue | None = None  # says what events do not say of their items


def run_live(
    run: LiveRun, settings: Settings, device: torch.device, progress: Callable[[int], None] = lambda _events: None
) -> LiveScores:
    """Answers a log as a worker does that serves the version; `progress` gets the number of events done."""
    pipeline = _pipeline(run, settings, device)
    statistics = None if run.model.counter is None else DelayedStatistics(run.model.counter, run.lag)
    if statistics is not None:
        pipeline.use_statistics(statistics)
    notes = _Notes()
    for batch in batches(run.log.records):
        if statistics is not None:
            statistics.catch_up(batch[0].timestamp)
        answered = pipeline.answer(pipeline.step(pipeline.decode(batch, 0)))
        notes.add(answered)
        if statistics is not None:
            statistics.tell(batch[-1].timestamp, answered.stepped.received.actions)
        progress(batch[-1].offset + 1)
    return notes.scores(run.log)


def _pipeline(run: LiveRun, settings: Settings, device: torch.device) -> Pipeline:
    """Makes a pipeline that knows the users' past and serves the version; its rules follow everybody."""
    version, past = run.model.version, run.log.past
    hidden = version.network.backbone.state_size
    settings = settings.model_copy(update={"hidden": hidden, "rules_share": 1.0, "event_format": "auto"})
    engine = new_engine(settings, device, rules=run.model.rules)
    if past.users:
        homes = key_partitions(strings([user.encode() for user in past.users]), settings.partitions)
        slots = engine.slots_of(homes.tolist(), past.users)
        take_past(engine.states, slots, past, _SOURCE, int(past.numbers.max()) + 1)
    engine.serve(serve(version, device, settings.ranked_by, settings.ranking_threads))
    pipeline = Pipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)
    if run.catalogue is not None:
        pipeline.catalogue = run.catalogue
    return pipeline


@dataclass(slots=True)
class _Notes:
    """What a run has said so far."""

    touches: list[Touches] = field(default_factory=list)
    targets: list[Touches] = field(default_factory=list)
    model_ranks: list[NDArray[np.int64]] = field(default_factory=list)
    rules_ranks: list[NDArray[np.int64]] = field(default_factory=list)
    _users: dict[str, int] = field(default_factory=dict)  # numbers by id
    _answered: set[int] = field(default_factory=set)  # users who have an answer

    def add(self, batch: AnsweredBatch) -> None:
        """Takes down a batch, in which every user has one event."""
        received, stepped = batch.stepped.received, batch.stepped.shares[0].stepped
        actions, events = received.actions, stepped.events
        users = np.array([self._users.setdefault(user, len(self._users)) for user in actions.users], np.int64)
        on_item = actions.types != SEARCH
        self.touches.append(Touches(received.offsets[on_item], users[on_item], actions.item_keys[on_item]))
        of_events = users[events.indices]
        answered = np.array([user in self._answered for user in of_events.tolist()], np.bool_)
        scored = events.scored & answered
        assert int(scored.sum()) == len(batch.scores[0].ranks) == len(stepped.rules_ranks)
        self._answered.update(of_events.tolist())
        numbers = received.offsets[events.indices]
        self.targets.append(Touches(numbers[scored], of_events[scored], events.item_keys[scored]))
        self.model_ranks.append(batch.scores[0].ranks)
        self.rules_ranks.append(stepped.rules_ranks)

    def scores(self, log: LiveLog) -> LiveScores:
        """Returns the scores of the whole log."""
        targets, touches = _joined(self.targets), _joined(self.touches)
        past = set(log.past.users)
        known = np.array([user in past for user in self._users], np.bool_)
        return LiveScores(
            targets=targets,
            model_ranks=ranks_of(np.concatenate(self.model_ranks)),
            rules_ranks=ranks_of(np.concatenate(self.rules_ranks)),
            known_users=known[targets.users],
            kinds=target_kinds(targets, touches, log.item_keys),
        )


def _joined(parts: list[Touches]) -> Touches:
    return Touches(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
