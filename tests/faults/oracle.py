"""The verdict on a run: the topics against what the input log demands. Shares no code with what it judges."""

from __future__ import annotations

import json
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.faults.replay import Expected, Place, Record, State, User, id_hash
from tests.faults.stored import Stored, read

HIDDEN_TOLERANCE: Final = 0.005  # halves near 1 are 0.0005 apart, and batches of other sizes round otherwise
_EXAMPLES: Final = 20
_HEADER: Final = "nextact.error."


@dataclass
class Verdict:
    """Counts of what was looked at and of what was not as it must be, with the first examples."""

    events: int = 0
    poison: int = 0
    users: int = 0
    lost: int = 0  # input offsets without a prediction or a dead letter
    repeated: int = 0  # records with an id that came before
    wrong_answers: int = 0  # ids, fields, order, places
    wrong_states: int = 0
    hidden_difference: float | None = None  # the largest, from the uninterrupted run's
    examples: list[str] = field(default_factory=list)

    def complain(self, counter: str, what: str) -> None:
        """Counts a difference; the first ones are told."""
        setattr(self, counter, getattr(self, counter) + 1)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{counter}: {what}")

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


@dataclass(frozen=True)
class Topics:
    """All records of a stream."""

    predictions: list[Record]
    dead_letters: list[Record]
    changelog: list[Record]


def judge(expected: Expected, topics: Topics, *, epoch: int, topic: str) -> Verdict:
    """Compares; `epoch` and `topic` of the events make the ids."""
    verdict = Verdict(len(expected.answers), len(expected.reasons), len(expected.users))
    seen = _judge_predictions(verdict, expected, topics.predictions, epoch, topic)
    seen |= _judge_dead_letters(verdict, expected, topics.dead_letters)
    for place in sorted((expected.answers.keys() | expected.reasons.keys()) - seen):
        verdict.complain("lost", f"nothing for {place}")
    _judge_states(verdict, expected.users, topics.changelog, epoch)
    return verdict


def _judge_predictions(
    verdict: Verdict, expected: Expected, records: Iterable[Record], epoch: int, topic: str
) -> set[Place]:
    newest: defaultdict[User, int] = defaultdict(lambda: -1)
    seen: set[Place] = set()
    namespace = uuid.uuid5(uuid.UUID(int=0), f"nextact/{epoch}/{topic}")
    for record in records:
        prediction = json.loads(record.value)
        source = prediction["source"]
        place = (source["partition"], source["offset"])
        wanted = expected.answers.get(place)
        if wanted is None:
            verdict.complain("wrong_answers", f"a prediction for {place}, where no event is")
            continue
        wanted = {**wanted, "prediction_id": str(uuid.uuid5(namespace, f"{place[0]}/{place[1]}"))}
        found = {name: prediction.get(name) for name in wanted}
        if found != wanted or record.partition != place[0] or record.key != wanted["user_id"].encode():
            verdict.complain("wrong_answers", f"{place} on {record.partition}: {found}, not {wanted}")
        if not math.isclose(sum(prediction["next_type"].values()), 1, abs_tol=1e-4):
            verdict.complain("wrong_answers", f"{place}: types {prediction['next_type']}")
        if place in seen:
            verdict.repeated += 1
            continue
        seen.add(place)
        user = (record.partition, wanted["user_id"])
        if place[1] < newest[user]:
            verdict.complain("wrong_answers", f"{place} first answered after {newest[user]} of {user}")
        newest[user] = max(place[1], newest[user])
    return seen


def _judge_dead_letters(verdict: Verdict, expected: Expected, records: Iterable[Record]) -> set[Place]:
    seen: set[Place] = set()
    for record in records:
        headers = {name.removeprefix(_HEADER): value.decode() for name, value in record.headers}
        place = (int(headers["partition"]), int(headers["offset"]))
        if headers["reason"] != expected.reasons.get(place):
            verdict.complain("wrong_answers", f"{place}: {headers['reason']}, not {expected.reasons.get(place)}")
        verdict.repeated += place in seen
        seen.add(place)
    return seen


def _judge_states(verdict: Verdict, users: Mapping[User, State], changelog: Iterable[Record], epoch: int) -> None:
    found = final_states(changelog)
    for user in sorted(users.keys() | found.keys()):
        stored, state = found.get(user), users.get(user)
        if stored is None or state is None:
            verdict.complain("wrong_states", f"{user}: {'no record' if state else 'a record, but no event'}")
        elif why := _difference(stored, state, epoch):
            verdict.complain("wrong_states", f"{user}: {why}")


def final_states(changelog: Iterable[Record]) -> dict[User, Stored]:
    """Each user's last record; raises `ValueError` for a damaged one."""
    latest = {(record.partition, record.key.decode()): record.value for record in changelog}
    return {user: read(value) for user, value in latest.items() if value}


def _difference(stored: Stored, state: State, epoch: int) -> str | None:
    wanted = (epoch, state.offset, state.count, state.last_time)
    found = (stored.epoch, stored.offset, stored.count, stored.last_time)
    if found != wanted:
        return f"(epoch, offset, count, time) {found}, not {wanted}"
    if stored.actions != tuple(state.actions):
        return f"sequence {stored.actions[-3:]}, not {list(state.actions)[-3:]} (the last of {len(state.actions)})"
    if [number for number in stored.event_ids if number] != [id_hash(event_id) for event_id in state.event_ids]:
        return "recent event ids"
    return None


def compare_hidden(verdict: Verdict, changelog: Iterable[Record], reference: Iterable[Record]) -> None:
    """Hidden states against those of a run that nothing interrupted."""
    found, wanted = final_states(changelog), final_states(reference)
    verdict.hidden_difference = 0.0
    for user in sorted(found.keys() & wanted.keys()):
        pairs = zip(found[user].hidden, wanted[user].hidden, strict=True)
        difference = max(abs(one - other) for one, other in pairs)
        verdict.hidden_difference = max(verdict.hidden_difference, difference)
        if difference > HIDDEN_TOLERANCE or not any(wanted[user].hidden):
            verdict.complain("wrong_states", f"{user}: hidden state differs by {difference:.4f}")
