"""The fault suite's oracle accepts what the pipeline makes of a load, and complains of every kind of difference."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.serving.serving import serve
from model.serving.state_engine import StateEngine
from model.state.user_record import FIRST_VERSION, RECORD_VERSION
from stream_app.contract.records import OutgoingRecord
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.faults.event_log import OFFSET_BITS, Cut
from tests.faults.load import ABORTED, EXPECT, NOTHING, REASONS, Labelled, Mix, records
from tests.faults.oracle import HIDDEN_TOLERANCE, Topics, Verdict, compare_hidden, judge
from tests.faults.replay import Record, replay
from tests.faults.stored import read
from tests.unit.builders.basics import CPU, LENGTH, make_record, make_states, make_version, unpacked
from tests.unit.builders.topic_records import LoggedRecord

SETTINGS = load_settings({"events_topic": "shop.events", "partitions": 2})
MIX = Mix(users=12, items=90, hot=0.3, poison=0.1, repeats=0.1, late=0.1)
EVENTS = 700


@dataclass(frozen=True)
class Run:
    """A log and the topics that came of it."""

    log: list[LoggedRecord]
    predictions: list[LoggedRecord]
    dead_letters: list[LoggedRecord]
    changelog: list[LoggedRecord]

    def verdict(self) -> Verdict:
        topics = Topics(_sorted(self.predictions), _sorted(self.dead_letters), _sorted(self.changelog))
        return judge(replay(self.log, LENGTH), topics, epoch=1, topic=SETTINGS.events_topic)


def _sorted(logged: list[LoggedRecord]) -> list[Record]:
    return sorted(logged, key=lambda record: (record.partition, record.offset))


@cache
def sound(version: int = RECORD_VERSION) -> Run:
    """What the pipeline makes of a load in batches of 50; cached, so not to be changed."""
    log, states = _log(), make_states()
    states.version = version
    engine = StateEngine(states, rules_share=1)
    engine.count_preferences()
    engine.follow_rhythms(segments=False)
    engine.serve(serve(make_version(), CPU))
    pipeline = Pipeline(engine, SETTINGS, WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    run = Run(log, [], [], [])
    for start in range(0, len(log), 50):
        batch = [_consumed(record) for record in log[start : start + 50]]
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(batch, 1)))):
            for topic, outgoing in (
                (run.predictions, unpacked(result.predictions)),
                (run.dead_letters, unpacked(result.dead_letters)),
                (run.changelog, unpacked(result.changelog)),
            ):
                topic.extend(_appended(sent, result.partition, len(topic)) for sent in outgoing)
                topic.sort(key=lambda record: record.offset)
    return run


def _log() -> list[LoggedRecord]:
    ends: defaultdict[int, int] = defaultdict(int)
    log = []
    for record in islice(records(MIX, 3, 1_750_000_000_000), EVENTS):
        partition = len(record.key or b"") % 2
        log.append(_logged(record, partition, ends[partition]))
        ends[partition] += 1
    return log


def _logged(record: Labelled, partition: int, offset: int) -> LoggedRecord:
    return LoggedRecord(partition, offset, record.key, record.value, ((EXPECT, record.expect.encode()),), offset)


def _consumed(logged: LoggedRecord) -> ConsumerRecord[bytes, bytes]:
    record = make_record(
        logged.value, key=logged.key, offset=logged.offset, timestamp=logged.timestamp, partition=logged.partition
    )
    return replace(record, headers=logged.headers)


def _appended(sent: OutgoingRecord, partition: int, offset: int) -> LoggedRecord:
    return LoggedRecord(partition, offset, sent.key, sent.value, sent.headers)


@pytest.mark.parametrize("version", [FIRST_VERSION, RECORD_VERSION])
def test_what_the_pipeline_makes_is_as_it_must_be(version: int) -> None:
    verdict = sound(version).verdict()
    assert verdict.examples == []
    noise = sum(dict(record.headers)[EXPECT] == NOTHING.encode() for record in sound().log)
    assert verdict.events + verdict.poison + noise == EVENTS > EVENTS - noise
    assert verdict.users > MIX.users / 2
    assert (verdict.lost, verdict.repeated, verdict.wrong_answers, verdict.wrong_states) == (0, 0, 0, 0)


def test_the_load_is_the_same_for_a_seed_and_holds_every_kind() -> None:
    first, again, other = (list(islice(records(MIX, seed, 0), 3000)) for seed in (1, 1, 2))
    assert first == again != other
    assert {record.expect for record in first} == {"event", NOTHING, *REASONS.values()}
    ids = [json.loads(record.value or b"").get("event_id") for record in first if record.expect == "event"]
    assert len(set(ids)) < len(ids) - 100


def _prediction(run: Run, index: int, **fields: Any) -> Run:
    """The run with fields of one prediction changed."""
    changed = [*run.predictions]
    value = {**json.loads(changed[index].value), **fields}
    changed[index] = replace(changed[index], value=json.dumps(value).encode())
    return replace(run, predictions=changed)


def _moved(logged: list[LoggedRecord], index: int, **fields: Any) -> list[LoggedRecord]:
    return [*logged[:index], replace(logged[index], **fields), *logged[index + 1 :]]


def _unreasonable(run: Run) -> list[tuple[str, bytes]]:
    """The headers of the first dead letter with a reason that it cannot have."""
    return [*{**dict(run.dead_letters[0].headers), "nextact.error.reason": b"mood"}.items()]


def _cut_letter(run: Run, sha256: str) -> Run:
    """The run in which a dead letter has the first byte of its value, and says so."""
    index = next(index for index, letter in enumerate(run.dead_letters) if len(letter.value or b"") > 9)
    letter = run.dead_letters[index]
    told = [("nextact.error.value_bytes", str(len(letter.value)).encode())]
    told += [("nextact.error.value_sha256", sha256.encode() or hashlib.sha256(letter.value).hexdigest().encode())]
    changed = _moved(run.dead_letters, index, value=letter.value[:1], headers=(*letter.headers, *told))
    return replace(run, dead_letters=changed)


def _aborted(run: Run) -> Run:
    """The run in which the first event was taken back."""
    index = next(index for index, record in enumerate(run.log) if record.headers[0][1] == b"event")
    return replace(run, log=_moved(run.log, index, headers=((EXPECT, ABORTED.encode()),)))


def _stale_last_record(run: Run) -> Run:
    """A zombie writes a user's first record once more, after all others."""
    zombie = replace(run.changelog[0], offset=10_000)
    return replace(run, changelog=[*run.changelog, zombie])


def _swapped(run: Run) -> Run:
    """Swaps the first two answers to one user."""
    first = run.predictions[0]
    other = next(record for record in run.predictions[1:] if record.key == first.key)
    rest = [record for record in run.predictions if record not in (first, other)]
    return replace(run, predictions=[replace(other, offset=first.offset), replace(first, offset=other.offset), *rest])


DIFFERENCES: dict[str, tuple[str, Callable[[Run], Run]]] = {
    "a prediction is missing": ("lost", lambda run: replace(run, predictions=run.predictions[:-1])),
    "a dead letter is missing": ("lost", lambda run: replace(run, dead_letters=run.dead_letters[1:])),
    "a prediction comes twice": (
        "repeated",
        lambda run: replace(run, predictions=[*run.predictions, replace(run.predictions[9], offset=9999)]),
    ),
    "a dead letter comes twice": (
        "repeated",
        lambda run: replace(run, dead_letters=[*run.dead_letters, run.dead_letters[0]]),
    ),
    "another id": ("wrong_answers", lambda run: _prediction(run, 5, prediction_id="0")),
    "another user": ("wrong_answers", lambda run: _prediction(run, 5, user_id="somebody")),
    "an event counted twice": ("wrong_answers", lambda run: _prediction(run, 5, history_length=999)),
    "another time": ("wrong_answers", lambda run: _prediction(run, 5, event_timestamp=0)),
    "no probabilities": ("wrong_answers", lambda run: _prediction(run, 5, next_type={"view": 0.5})),
    "another partition": (
        "wrong_answers",
        lambda run: replace(run, predictions=_moved(run.predictions, 5, partition=7)),
    ),
    "answers out of order": ("wrong_answers", _swapped),
    "an answer to nothing": (
        "wrong_answers",
        lambda run: _prediction(run, 5, source={"partition": 0, "offset": 10**6}),
    ),
    "another reason": (
        "wrong_answers",
        lambda run: replace(run, dead_letters=_moved(run.dead_letters, 0, headers=_unreasonable(run))),
    ),
    "a dead letter without its value": (
        "wrong_answers",
        lambda run: replace(run, dead_letters=_moved(run.dead_letters, 0, value=b"?")),
    ),
    "a dead letter without its headers": (
        "wrong_answers",
        lambda run: replace(run, dead_letters=_moved(run.dead_letters, 0, headers=run.dead_letters[0].headers[1:])),
    ),
    "a dead letter cut from another value": ("wrong_answers", lambda run: _cut_letter(run, "0" * 64)),
    "an answer to what was taken back": ("wrong_answers", _aborted),
    "a user without a record": (
        "wrong_states",
        lambda run: replace(run, changelog=[r for r in run.changelog if r.key != run.changelog[0].key]),
    ),
    "a record without a user": (
        "wrong_states",
        lambda run: replace(run, changelog=[*run.changelog, replace(run.changelog[0], key=b"nobody")]),
    ),
    "an old record last": ("wrong_states", _stale_last_record),
}


def test_a_dead_letter_may_be_cut_if_it_says_so() -> None:
    assert _cut_letter(sound(), "").verdict().examples == []


def test_answers_behind_a_cut_have_positions_for_offsets() -> None:
    """What the log says of partition 0 begins anew behind an earlier log, of which nothing came."""
    run = sound()
    cut = Cut({0: 0}, {"predictions": {0: 0}, "dead_letters": {0: 0}})
    log = [replace(one, offset=(1 << OFFSET_BITS) + one.offset) if one.partition == 0 else one for one in run.log]
    topics = Topics(_sorted(run.predictions), _sorted(run.dead_letters), _sorted(run.changelog), [cut])
    verdict = judge(replay(log, LENGTH), topics, epoch=1, topic=SETTINGS.events_topic)
    assert verdict.lost == 0
    changed = {prediction.key for prediction in run.predictions if prediction.partition == 0}
    assert verdict.wrong_states == len(changed) + 1, "offsets where positions should be, and a cut that nobody noted"
    assert verdict.wrong_answers == sum(one.partition == 0 for one in run.predictions), "ids of offsets"


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_counted(name: str) -> None:
    counter, change = DIFFERENCES[name]
    verdict = change(sound()).verdict()
    assert getattr(verdict, counter) > 0
    assert counter == "repeated" or verdict.examples


# Where the fields of a record begin, or (below 0) where they do before the last action's end: the header has 55 bytes,
# the actions 12 bytes each.
FIELDS = {"epoch": 11, "offset": 15, "count": 23, "time": 31, "event id": -12 * LENGTH - 8, "item": -12, "type": -4}


@pytest.mark.parametrize("name", FIELDS)
def test_a_record_with_one_other_field_is_a_wrong_state(name: str) -> None:
    run = sound()
    index = max(index for index, record in enumerate(run.changelog) if record.key == b"hot")
    value = bytearray(run.changelog[index].value)
    hidden, ids, length = struct.unpack_from("<HHH", value, 5)
    at = FIELDS[name] if FIELDS[name] >= 0 else 55 + 2 * hidden + 8 * ids + 12 * length + FIELDS[name]
    value[at] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        read(bytes(value))
    value[1:5] = zlib.crc32(value[5:]).to_bytes(4, "little")
    changed = replace(run, changelog=_moved(run.changelog, index, value=bytes(value)))
    assert changed.verdict().wrong_states == 1


def _changed_section(run: Run, tag: int, back: int) -> Run:
    """The run in which a last record has another byte, so many before the end of one of its sections."""
    last = {(record.partition, record.key): index for index, record in enumerate(run.changelog)}
    for index in last.values():
        value = bytearray(run.changelog[index].value)
        hidden, ids, length = struct.unpack_from("<HHH", value, 5)
        at = 55 + 2 * hidden + 8 * ids + 12 * length
        while at < len(value):
            found, size = struct.unpack_from("<HI", value, at)
            at += 6 + size
            if found == tag:
                value[at - back] ^= 1
                value[1:5] = zlib.crc32(value[5:]).to_bytes(4, "little")
                return replace(run, changelog=_moved(run.changelog, index, value=bytes(value)))
    raise AssertionError(f"no record has section {tag}")


# By what is changed: the tag of a section, and which byte before its end: the low byte of the last word, the exponent
# of the last brand's first weight, the low byte of its key; the low bytes of the visits and of the purchases.
IN_SECTIONS = {
    "a word of a search": (1, 2),
    "a weight": (3, 9),
    "a brand": (3, 20),
    "visits": (4, 22),
    "purchases": (4, 6),
}


@pytest.mark.parametrize("name", IN_SECTIONS)
def test_one_other_byte_of_a_section_is_a_wrong_state(name: str) -> None:
    assert _changed_section(sound(), *IN_SECTIONS[name]).verdict().wrong_states == 1


def test_hidden_states_are_compared_within_a_tolerance() -> None:
    run = sound()
    verdict = Verdict()
    compare_hidden(verdict, list(run.changelog), list(run.changelog))
    assert (verdict.hidden_difference, verdict.wrong_states) == (0.0, 0)
    half_way = len(run.changelog) // 2
    compare_hidden(verdict, list(run.changelog), list(run.changelog[:half_way]))
    assert (verdict.hidden_difference or 0.0) > HIDDEN_TOLERANCE
    assert verdict.wrong_states > 0


def test_every_field_of_a_verdict_is_in_the_report() -> None:
    assert Verdict().as_dict().keys() == {field.name for field in dataclasses.fields(Verdict)}
