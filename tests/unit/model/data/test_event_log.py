"""What is asked of a log in parts, against the same log in one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from model.data.event_log import active_sequences, latest_actions, parts, sampled_times
from model.data.sequences import concatenate_sequences
from model.data.vocabulary import Vocabulary
from model.rounds.drift import DriftMonitor
from model.rounds.fit_model import held_out
from model.rounds.rehearsal import rehearsal
from model.statistics.log_statistics import counter_of
from tests.unit.builders.logs import ROOMY, in_parts
from tests.unit.builders.sequences import random_users, sequences, users_of

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize("cut", [None, 200_000])
def test_what_is_asked_of_all_parts_is_what_the_whole_says(files: ExitStack, tmp_path: Path, cut: int | None) -> None:
    whole = sequences(*random_users(3))
    log = in_parts(whole, 4, ROOMY, tmp_path, files)
    if cut is not None:
        middle = whole.newest(0.5)
        whole, log = whole.before(middle), log.before(middle)
    vocabulary = Vocabulary(list(LETTERS))
    assert len(log) == len(whole)
    assert log.span == whole.span
    assert log.newest(0.3) == whole.newest(0.3)
    assert np.array_equal(sampled_times(log), np.sort(whole.times))
    late = whole.newest(0.2)
    assert users_of(active_sequences(log, late)) == users_of(active_sequences(whole, late))
    assert users_of(concatenate_sequences(list(parts(log.before(late))))) == users_of(whole.before(late))
    assert users_of(latest_actions(log)) == users_of(whole)
    assert held_out(log, late, 10).item_keys.tolist() == held_out(whole, late, 10).item_keys.tolist()
    result, expected = (counter_of(of).table.of_items(vocabulary.item_keys, LETTERS) for of in (log, whole))
    for one, other in zip(result.arrays.items.followers, expected.arrays.items.followers, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(result.arrays.items.counts, expected.arrays.items.counts, rtol=1e-5)
    for name, counts in DriftMonitor(whole)._learned.items():
        assert np.array_equal(DriftMonitor(log)._learned[name], counts)


def test_where_there_is_no_room_users_are_drawn_and_stay_whole(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences(*["abcd"] * 100)
    log = in_parts(whole, 5, 200, tmp_path, files)
    result = active_sequences(log, 0)
    assert 150 <= len(result) <= 200
    assert not users_of(result) - users_of(whole)
    some = latest_actions(log)
    assert len(some) == pytest.approx(200, abs=2)
    assert np.array_equal(np.sort(some.times), np.sort(whole.times)[-len(some) :])
    assert len(rehearsal(log, 0, 1000, np.random.default_rng(1))) <= 200
