"""Samples of all formats say what stands beside them, and nothing in any of these shapes raises anything else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, actions_of
from stream_app.contract.decoded import REASONS, DecodedBatch, RejectedRecord
from stream_app.contract.event_names import MEANINGS
from stream_app.contract.events import decode_batch, decode_event
from stream_app.contract.formats.options import DecodeOptions
from tests.paths import ROOT
from tests.unit.builders.basics import make_record
from tests.unit.builders.format_samples import FORMATS, FormatSample, said, samples
from tests.unit.builders.plain_formats import PlainReading, everything_said

SAMPLES = samples()


def record_of(sample: FormatSample) -> Any:
    return make_record(sample.value, key=sample.key)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_sample_says_what_stands_beside_it(sample: FormatSample) -> None:
    batch = decode_batch([record_of(sample)])
    assert batch.rejected == []
    assert said(batch) == sample.says
    assert {event.user_id.encode() for event in batch.events} <= {sample.key}
    assert {shown.user_id.encode() for shown in batch.shown} <= {sample.key}
    assert batch.lines == list(range(len(batch.events)))


@pytest.mark.parametrize("order", [1, -1])
def test_samples_say_the_same_side_by_side(order: int) -> None:
    """The first one decides what is tried first."""
    batch = decode_batch([record_of(sample) for sample in SAMPLES[::order]])
    assert batch.rejected == []
    for name, found in said(batch).items():
        assert found == [one for sample in SAMPLES[::order] for one in sample.says.get(name, ())]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("format", FORMATS)
def test_a_fixed_format_takes_its_own_records_alone(format: Any, sample: FormatSample) -> None:
    batch = decode_batch([record_of(sample)], options=DecodeOptions(format=format))
    if format == sample.format:
        assert said(batch) == sample.says
    elif said(batch):  # nextact's own are known by their fields alone, which others may have, too
        assert {format, sample.format} & {"nextact"}


@pytest.mark.parametrize("sample", [one for one in SAMPLES if set(one.says) != {"ignored"}], ids=str)
@pytest.mark.parametrize("key", [b"eve", None])
def test_a_record_lies_under_one_of_its_ids(sample: FormatSample, key: bytes | None) -> None:
    (rejection,) = decode_batch([make_record(sample.value, key=key)]).rejected
    assert rejection.reason == ("missing_key" if key is None else "key_mismatch")


NOISE = [one for one in SAMPLES if set(one.says) == {"ignored"} and "nothing" not in one.name]


@pytest.mark.parametrize("sample", [one for one in NOISE if "of one id" not in one.name], ids=str)
def test_noise_may_lie_under_any_key(sample: FormatSample) -> None:
    assert said(decode_batch([make_record(sample.value, key=None)])) == sample.says


def test_the_examples_of_the_readme_say_something() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if re.match(r'\{"(type":"track|client_id)"', line)]
    assert found
    batch = decode_batch([make_record(line.encode(), key=b"ada") for line in found])
    assert batch.rejected == []
    assert {*batch.positions} == {*range(len(found))}


NAMES = st.sampled_from([*MEANINGS, "Page_View", "swipe", "track", ""])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | NAMES
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value in a JSON document."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, child in inside for found in [(*path, key), *places(child, (*path, key))]]


def check(batch: DecodedBatch, records: int) -> None:
    said_by = {*batch.positions, *(one.position for one in batch.rejected)}
    said_by |= {one.position for one in batch.shown} | {one.position for one in batch.identities}
    assert said_by <= set(range(records))
    assert len(said_by) + len(batch.ignored) >= records
    assert not {one.position for one in batch.rejected} & set(batch.positions)
    assert {one.reason for one in batch.rejected} <= set(REASONS)
    assert all(event.type in EVENT_TYPES and event.items is None for event in batch.events)
    assert set(batch.ignored) <= {*MEANINGS}
    assert len(actions_of(batch.events, batch.times, batch.lines)) == len(batch.events)


@settings(max_examples=500)
@given(st.sampled_from(SAMPLES), st.data())
def test_whatever_stands_in_a_field_is_taken_or_rejected(sample: FormatSample, data: st.DataObject) -> None:
    record = json.loads(sample.value)
    for _ in range(data.draw(st.integers(1, 3))):
        found = places(record)
        if found:
            *path, last = data.draw(st.sampled_from(found))
            node = record
            for step in path:
                node = node[step]
            if data.draw(st.booleans()):
                node[last] = data.draw(ANYTHING)
            else:
                del node[last]
    value = json.dumps(record).encode()
    batch = decode_batch([make_record(value, key=sample.key)])
    check(batch, 1)
    if not batch.rejected:
        assert everything_said(batch) == PlainReading(json.loads(value), sample.key.decode(), 5).says
    for format in ("nextact", "segment", "ga4", "ubi"):
        check(decode_batch([make_record(value, key=sample.key)], options=DecodeOptions(format=format)), 1)


@settings(max_examples=300)
@given(st.sampled_from(SAMPLES), st.sampled_from(SAMPLES), st.booleans())
def test_what_is_tried_first_changes_nothing(one: FormatSample, other: FormatSample, both: bool) -> None:
    value = json.dumps(one.record | other.record if both else one.record).encode()
    outcomes = []
    for shape_first in (False, True):
        try:
            outcomes.append(repr(decode_event(one.key, value, 5, DecodeOptions(), shape_first)))
        except RejectedRecord as rejection:
            outcomes.append(rejection.reason)
    assert outcomes[0] == outcomes[1]
