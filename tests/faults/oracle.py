"""The verdict on a run: the topics against what the input log demands. Shares no code with what it judges."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any, Final

from tests.faults import rhythm
from tests.faults.event_log import OFFSET_BITS, Cut, cuts_before
from tests.faults.liked import differs
from tests.faults.replay import Action, Expected, Place, Record, State, User, id_hash, search_as_stored
from tests.faults.stored import Stored, read

HIDDEN_TOLERANCE: Final = 0.005  # halves near 1 are 0.0005 apart, and batches of other sizes round otherwise
_EXAMPLES: Final = 20
_HEADER: Final = "nextact.error."
_CUT_USER: Final = ""  # whose record says where a log was cut
_MOST_NOTES: Final = 3  # of one cut: a worker that dies while it notes one leaves that to the next one


@dataclass
class Verdict:
    """Counts of what was looked at and of what was not as it must be, with the first examples."""

    events: int = 0
    poison: int = 0
    users: int = 0
    lost: int = 0  # input offsets without a prediction or a dead letter
    missed: int = 0  # those that were deleted before anybody could answer them, as workers said
    repeated: int = 0  # records with an id that came before
    wrong_answers: int = 0  # ids, fields, order, places
    wrong_states: int = 0
    wrong_questions: int = 0  # answers over HTTP
    moved: int = 0  # actions of anonymous users that are now a known one's
    signals: int = 0  # that were told, repeats left out
    questions: dict[str, int] = field(default_factory=dict)  # over HTTP, by status; 0: nobody listened
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
    cuts: Sequence[Cut] = ()  # of the log of events; in `outputs` the topics are called as here
    signals: Sequence[Record] = ()

    def answered(self) -> set[Place]:
        """The places of all events and records that have a prediction or a dead letter."""
        places = (self.source_of(record) for record in self.predictions)
        return {*places, *(place for record in self.dead_letters for place in self.rejected(record))}

    def source_of(self, prediction: Record) -> Place:
        """The place of the event that a prediction answers."""
        source = json.loads(prediction.value)["source"]
        return self._place((source["partition"], source["offset"]), prediction, "predictions")

    def rejected(self, letter: Record) -> list[Place]:
        """The places that a dead letter stands for: the record's, after those before it in an unreadable batch."""
        headers = error_headers(letter)
        partition, last = int(headers["partition"]), int(headers["offset"])
        offsets = range(int(headers.get("first_offset", last)), last + 1)
        return [self._place((partition, offset), letter, "dead_letters") for offset in offsets]

    def _place(self, place: Place, written: Record, topic: str) -> Place:
        partition, offset = place
        return partition, (cuts_before(self.cuts, place, written, topic) << OFFSET_BITS) + offset


def error_headers(letter: Record) -> dict[str, str]:
    """What a dead letter says of itself."""
    ours = ((name, value) for name, value in letter.headers if name.startswith(_HEADER))
    return {name.removeprefix(_HEADER): value.decode() for name, value in ours}


def judge(expected: Expected, topics: Topics, *, epoch: int, topic: str, profiles: bool = True) -> Verdict:
    """Compares; `epoch` and `topic` of the events make the ids.

    Without `profiles` it leaves out what records say of users beside their sequences: what an older worker took in is
    counted later, from the last actions alone.
    """
    verdict = judge_answers(expected, topics, epoch=epoch, topic=topic)
    _judge_states(verdict, expected.users, topics, epoch, profiles=profiles)
    return verdict


def judge_answers(expected: Expected, topics: Topics, *, epoch: int, topic: str) -> Verdict:
    """Compares predictions and dead letters; as `judge` does, but for the states."""
    verdict = Verdict(len(expected.answers), len(expected.reasons), len(expected.users))
    seen = _judge_predictions(verdict, expected, topics, epoch, topic)
    seen |= _judge_dead_letters(verdict, expected, topics)
    for place in sorted((expected.answers.keys() | expected.reasons.keys()) - seen):
        verdict.complain("lost", f"nothing for {place}")
    return verdict


def _judge_predictions(verdict: Verdict, expected: Expected, topics: Topics, epoch: int, topic: str) -> set[Place]:
    newest: defaultdict[User, int] = defaultdict(lambda: -1)
    seen: set[Place] = set()
    namespace = uuid.uuid5(uuid.UUID(int=0), f"nextact/{epoch}/{topic}")
    for record in topics.predictions:
        prediction = json.loads(record.value)
        place = topics.source_of(record)
        wanted = expected.answers.get(place)
        if wanted is None:
            verdict.complain("wrong_answers", f"a prediction for {place}, where no event is")
            continue
        ids = [str(uuid.uuid5(namespace, f"{place[0]}/{position}")) for position in _positions(place[1])]
        if prediction["prediction_id"] not in ids:
            verdict.complain("wrong_answers", f"{place}: id {prediction['prediction_id']}, not {ids}")
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


def _positions(position: int) -> list[int]:
    """What a position may be called: a cut is noted once more when a worker dies while it notes it."""
    cuts, offset = divmod(position, 1 << OFFSET_BITS)
    return [(number << OFFSET_BITS) + offset for number in range(cuts, cuts + _MOST_NOTES if cuts else 1)]


def _judge_dead_letters(verdict: Verdict, expected: Expected, topics: Topics) -> set[Place]:
    seen: set[Place] = set()
    for letter in topics.dead_letters:
        reason, places = error_headers(letter)["reason"], topics.rejected(letter)
        place = places[-1]
        if reason != expected.reasons.get(place):
            verdict.complain("wrong_answers", f"{place}: {reason}, not {expected.reasons.get(place)}")
        elif why := _change(letter, expected.rejected[place]):
            verdict.complain("wrong_answers", f"dead letter of {place}: {why}")
        verdict.repeated += place in seen
        seen.update(places)
    return seen


def _change(letter: Record, source: Record) -> str | None:
    """What a dead letter has not of its record, and does not say to have cut; None: it is complete."""
    told = error_headers(letter)
    if letter.key != source.key:
        return f"key {letter.key!r}"
    headers = [(name, value) for name, value in letter.headers if not name.startswith(_HEADER)]
    if headers != list(source.headers) and told.get("headers_left_out") != str(len(source.headers)):
        return f"headers {headers!r}, not {source.headers!r}"
    if letter.value == source.value:
        return None
    cut = (str(len(source.value or b"")), hashlib.sha256(source.value or b"").hexdigest())
    is_told = (told.get("value_bytes"), told.get("value_sha256")) == cut
    if letter.value and is_told and source.value.startswith(letter.value):
        return None
    return f"value {letter.value[:99] if letter.value else letter.value!r}"


def _judge_states(verdict: Verdict, users: Mapping[User, State], topics: Topics, epoch: int, *, profiles: bool) -> None:
    found = final_states(topics.changelog)
    cut = {partition for one in topics.cuts for partition in one.kept}
    noted = {partition for partition, user in found if user == _CUT_USER}
    if cut != noted:
        verdict.complain("wrong_states", f"cuts of {sorted(noted)}, not {sorted(cut)}")
    found = {user: stored for user, stored in found.items() if user[1] != _CUT_USER}
    for user in sorted(users.keys() | found.keys()):
        stored, state = found.get(user), users.get(user)
        if stored is None or state is None:
            verdict.complain("wrong_states", f"{user}: {'no record' if state else 'a record, but no event'}")
        elif why := _difference(stored, state, epoch) or (profiles and _profile_difference(stored, state)):
            verdict.complain("wrong_states", f"{user}: {why}")


def final_states(changelog: Iterable[Record]) -> dict[User, Stored]:
    """Each user's last record; raises `ValueError` for a damaged one."""
    latest = {(record.partition, record.key.decode()): record.value for record in changelog}
    return {user: read(value) for user, value in latest.items() if value}


def _difference(stored: Stored, state: State, epoch: int) -> str | None:
    wanted = (epoch, state.offset, state.count, state.last_time)
    found = (stored.epoch, stored.offset, stored.count, stored.last_time)
    if found not in [(epoch, position, *wanted[2:]) for position in _positions(state.offset)]:
        return f"(epoch, offset, count, time) {found}, not {wanted}"
    same = map(is_stored, state.actions, stored.actions, repeat(stored))
    if len(stored.actions) != len(state.actions) or not all(same):
        return f"sequence {stored.actions[-3:]}, not {list(state.actions)[-3:]} (the last of {len(state.actions)})"
    if [number for number in stored.event_ids if number] != [id_hash(event_id) for event_id in state.event_ids]:
        return "recent event ids"
    return None


def _profile_difference(stored: Stored, state: State) -> str | None:
    if stored.version > 1 and (why := differs(stored.liked, state.liked)):
        return f"what is liked: {why}"
    if stored.version > 1 and (why := rhythm.differs(stored.rhythm, state.rhythm)):
        return f"rhythm: {why}"
    if stored.liked_of not in (0, stored.count):
        return f"what is liked is of {stored.liked_of} actions, not {stored.count}"
    return None


def is_stored(action: Action, found: tuple[int, int], stored: Stored) -> bool:
    """Whether an action of a record is this one, and has its search's words beside it."""
    code, thing = action
    if isinstance(thing, int):
        return found == action
    wanted = search_as_stored(thing, stored.version)
    return found[0] == code and (found[1], stored.words.get(found[1], ())) in wanted


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
