"""The fuzzer's targets on all inputs that are kept, edited by hypothesis, and led by coverage for a moment."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzzer import fuzz, keep
from tests.fuzz.targets import CORPUS, NAMES, inputs, load
from tests.fuzz.twins import differ, outcomes, outcomes_in_python
from tests.skips import not_installed

MOST_BYTES = 200_000  # of all committed inputs
needs_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason=not_installed("fuzz"))

kept = cache(inputs)
EDITS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 3), st.binary(max_size=4)),  # where, bytes left out, bytes put in
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for position, left_out, put_in in edits:
        at = position % (len(data) + 1)
        data = data[:at] + put_in + data[at + left_out :]
    return data


@pytest.mark.parametrize("name", NAMES)
def test_what_must_hold_holds_on_all_inputs_that_are_kept(name: str) -> None:
    check = load(name).check
    for data in kept(name):
        check(data)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.data_too_large])
@given(st.data())
def test_what_must_hold_holds_on_inputs_like_these(name: str, data: st.DataObject) -> None:
    load(name).check(edited(data.draw(st.sampled_from(kept(name))), data.draw(EDITS)))


def test_both_readers_of_aiokafka_read_the_same_records_or_refuse(tmp_path: Path) -> None:
    for name in ("record_batches", "consumer"):
        for data in kept(name):
            (tmp_path / sha1(data).hexdigest()).write_bytes(data)
    files = sorted(tmp_path.iterdir())
    found = zip(files, outcomes(tmp_path), outcomes_in_python(tmp_path), strict=True)
    assert {path.name: (compiled, python) for path, compiled, python in found if differ(compiled, python)} == {}
    assert any(records for one in outcomes(tmp_path) for records in one)


def test_the_corpus_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {"record_batches", "consumer", "events"} <= {path.parent.name for path in files} <= set(NAMES)
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@needs_atheris
@pytest.mark.parametrize("name", ["record_batches", "events", "dead_letters"])
def test_a_short_dose_finds_nothing(name: str, tmp_path: Path) -> None:
    run = fuzz(name, tmp_path, seconds=2, check_bounds=False)
    assert run.finds == [], run.why
    assert run.executions > len(kept(name)) / 2
    assert run.edges > 50


@needs_atheris
def test_what_does_not_hold_is_found_and_kept(tmp_path: Path) -> None:
    name = "tests.unit.builders.broken_target"
    run = fuzz(name, tmp_path, seconds=5, check_bounds=False)
    assert [find.read_bytes() for find in run.finds] == [b"\x07"]
    assert "ValueError: seven is not allowed" in run.why
    keep(name, tmp_path, tmp_path / "committed")
    assert b"\x07" in [path.read_bytes() for path in (tmp_path / "committed" / name).iterdir()]
