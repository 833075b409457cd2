"""The summary of a log, in memory and in parts on disk, against what the log itself says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import event_log
from model.data.event_log import EventLog, sampled_times
from model.data.events import SEARCH, item_key
from model.data.log_summary import LogSummary, summarise
from model.data.sequences import Sequences, sequences_of
from tests.unit.builders.logs import ROOMY, baskets_of, in_parts, log
from tests.unit.builders.sequences import random_users, sequences

WHOLE = sequences(*random_users(4))


@pytest.fixture
def files() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def summaries(whole: Sequences, folder: Path, files: ExitStack, *, targets: int = 0) -> list[LogSummary]:
    """The summaries of a log in memory and of the same log in four parts."""
    logs: list[EventLog] = [whole, in_parts(whole, 4, ROOMY, folder, files)]
    return [summarise(one, targets=targets) for one in logs]


def test_a_summary_has_what_the_log_has_whatever_its_parts(files: ExitStack, tmp_path: Path) -> None:
    targets = WHOLE.targets_from()
    for result in summaries(WHOLE, tmp_path, files, targets=30):
        assert (result.events, result.users) == (len(WHOLE), len(WHOLE.offsets) - 1)
        assert result.span == (WHOLE.times.min(), WHOLE.times.max())
        assert np.array_equal(result.items, np.unique(WHOLE.item_keys[WHOLE.types != SEARCH]))
        assert np.array_equal(result.times, np.sort(WHOLE.times))
        assert np.array_equal(result.newest_targets, np.sort(WHOLE.times[targets])[-30:])


@given(share=st.floats(0, 1), seed=st.integers(0, 5))
def test_the_newest_share_and_the_items_before_a_time_are_those_of_the_log(share: float, seed: int) -> None:
    whole = sequences(*random_users(seed))
    summary = summarise(whole)
    cut = summary.newest(share)
    assert cut == whole.newest(share)
    before = whole.before(cut)
    assert np.array_equal(summary.items_before(cut), np.unique(before.item_keys[before.types != SEARCH]))


def test_of_a_long_log_in_parts_a_sample_of_the_times_is_kept(
    files: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_SAMPLED", len(WHOLE) // 3)
    in_memory, on_disk = summaries(WHOLE, tmp_path, files)
    assert max(len(in_memory.times), len(on_disk.times)) < len(WHOLE) / 2
    assert in_memory.newest(0.3) == WHOLE.newest(0.3), "what is in memory is cut exactly"
    parts = in_parts(WHOLE, 4, ROOMY, tmp_path, files)
    assert on_disk.newest(0.3) == parts.newest(0.3) == np.quantile(sampled_times(parts), 0.7, method="higher")


def test_without_a_wish_for_targets_none_are_kept() -> None:
    assert summarise(WHOLE).newest_targets.tolist() == []
    assert len(summarise(WHOLE, targets=10**6).newest_targets) == len(WHOLE.targets_from())


def test_an_item_is_known_from_its_first_action_on_and_a_search_is_not_an_item() -> None:
    whole = sequences_of(log(("u", "a", 5), ("u", "?", 6), ("v", "b", 3), ("v", "a", 4)))
    second = 1000 * (whole.times.min() // 1000 - 3)
    summary = summarise(whole)
    assert set(summary.items.tolist()) == {item_key("a"), item_key("b")}
    assert summary.items_before(second + 4000).tolist() == [item_key("b")]
    assert len(summary.items_before(second + 4001)) == 2
    dated = summary.dated(["b", "never", "a"])
    assert list(dated.before(second + 4000).ids) == ["b"]
    assert list(dated.before(second + 4001).ids) == ["b", "a"]
    assert list(dated.before(10**15).ids) == ["b", "a"], "what the log does not have is known at no time"
    assert list(summarise(whole.before(0)).dated(["a"]).before(10**15).ids) == []


def test_the_digest_tells_logs_apart_by_any_column() -> None:
    digest = summarise(WHOLE).digest
    columns = {name: getattr(WHOLE, name) for name in Sequences.__slots__}
    assert summarise(Sequences(**columns)).digest == digest
    columns.pop("queries")  # the words of searches follow from their keys
    columns.pop("bins", None)
    columns.pop("user_keys")  # who users are makes no difference to what is learned
    for name, column in columns.items():
        changed = column.copy()
        changed[len(changed) // 2] ^= 1
        assert summarise(Sequences(**(columns | {name: changed}))).digest != digest, name


def test_an_empty_log_has_a_summary() -> None:
    result = summarise(sequences_of(log()), targets=50)
    assert (result.events, result.users, result.span, result.items.tolist()) == (0, 0, (0, 0), [])


def test_an_event_of_several_actions_is_one(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences_of(baskets_of([("u", "cart", "abc", 1), ("v", "view", "a", 2), ("u", "view", "cb", 3)]))
    for result in summaries(whole, tmp_path, files, targets=30):
        assert (result.events, result.users, len(result.times)) == (3, 2, 6)
        assert result.newest_targets.tolist() == [3]
