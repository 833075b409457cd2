"""What signals add to the batches of a pipeline: they follow its answers, and look at users whose time has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.serving.answers import Answers
from model.serving.state_engine import StateEngine
from stream_app.contract.string_columns import Strings
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.batches import SteppedBatch, VersionShare
from stream_app.pipeline.joins.effects import JoinEffects, add_effects
from stream_app.pipeline.metrics import Ranker
from stream_app.settings import Settings
from stream_app.signals.due import DueUsers
from stream_app.signals.writer import AnsweredEvents, DueStates, SignalBatch, SignalWriter


@dataclass(frozen=True, slots=True)
class SignalEffects:
    """What a batch changes where signals are told."""

    shares: Sequence[VersionShare]  # with what is told, or still to be told, in the users' records
    joins: JoinEffects | None  # in the same way
    looked_at: Sequence[int]  # partitions of users whose time had come
    due: JoinEffects | None  # those of them whom silence has changed
    signals: SignalBatch


def found_due(engine: StateEngine, due: Sequence[DueUsers]) -> DueStates:
    """Returns the states of users whose time has come."""
    found = [one for one in due for _ in one.value]
    owners = [(one.partition, user) for one in due for user in one.value]
    slots = engine.slots_of([partition for partition, _ in owners], [user for _, user in owners])
    return DueStates(owners, found, engine.snapshot(slots))


def tell(writer: SignalWriter, batch: SteppedBatch, answers: Sequence[Answers], predictions: Strings) -> SignalEffects:
    """Finds what there is to tell after a batch; batches must come in the order in which they were stepped.

    `predictions` are those of all shares, one behind the other.
    """
    writer.forget(batch.late_sections)
    shares, first = list[VersionShare](), 0
    for share, answer in zip(batch.shares, answers, strict=True):
        events = _answered(batch, share, answer, predictions, first)
        shares.append(replace(share, states=writer.follow(events)))
        first += len(events.indices)
    joins, due = batch.joins, None
    if joins is not None and joins.states is not None:
        owners = [(partition, user.decode()) for partition, user in joins.users]
        joins = replace(joins, states=writer.renewed(owners, joins.states))
    looked_at = [] if batch.due is None else [one.partition for one in batch.due.found]
    if batch.due is not None:
        changed, states = writer.look(batch.due)
        due = JoinEffects([(partition, user.encode()) for partition, user in changed], states, [], {})
    return SignalEffects(shares, joins, looked_at, due, writer.finish())


def add_signals(effects: SignalEffects, results: dict[int, BatchResult], ranker: Ranker, settings: Settings) -> None:
    """Adds signals, timers and users whom silence has changed to the results of a batch; makes those that are missing,
    also where there is nothing to tell."""
    for partition in effects.looked_at:
        results.setdefault(partition, BatchResult(partition, ranker))
    if effects.due is not None:
        add_effects(effects.due, results, ranker, settings)
    for partition, batch in effects.signals.signals:
        results.setdefault(partition, BatchResult(partition, ranker)).signals.append(batch)
    for timer in effects.signals.timers:
        results.setdefault(timer.partition, BatchResult(timer.partition, ranker)).timers.append(timer)


def _answered(
    batch: SteppedBatch, share: VersionShare, answers: Answers, predictions: Strings, first: int
) -> AnsweredEvents:
    received, events = batch.received, share.stepped.events
    return AnsweredEvents(
        actions=received.actions,
        partitions=received.partitions,
        record_times=received.record_times,
        indices=events.indices,
        times=events.times,
        applied=events.applied,
        users=share.stepped.changed_slots.searchsorted(events.slots),
        purchase=answers.purchase,
        states=share.states,
        predictions=predictions,
        first=first,
    )
