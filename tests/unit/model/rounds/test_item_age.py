"""Items that are not seen for long: two rounds on logs of which the second has no more of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.disk_log import window_in_memory
from model.data.events import NO_TIME, Actions, Event, actions_of
from model.data.log_summary import summarise
from model.data.sequences import sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.gate import GateConfig
from model.rounds.item_age import without_forgotten
from model.rounds.training_round import Round, train_round
from model.versions.version import Version
from tests.unit.builders.basics import CPU
from tests.unit.builders.rounds import CONFIG, as_version

DAY = 86_400_000
ANYONE_WINS = replace(CONFIG, gate=GateConfig(recall_margin=1.0, mrr_margin=1.0, ahead=-1.0, change=1.0))
OLD, BOTH, NEW = "abcd", "efgh", "ijkl"


def log(items: str, day: int, users: int = 40) -> Actions:
    """Users who go round a circle of items within an hour of a day."""
    rows = [
        (f"{day} {user}", items[(user + step) % len(items)], day * DAY + 1000 * (users * step + user))
        for step in range(20)
        for user in range(users)
    ]
    return actions_of(
        [Event(user_id=user, type="view", item_id=item) for user, item, _ in rows], [at for *_, at in rows]
    )


def rounds_of(second_day: int, days: float = 90.0) -> tuple[Version, Round]:
    """The version of a round on the old items, and a round on a log without these."""
    config = replace(ANYONE_WINS, item_days=days)
    first = train_round(window_in_memory(log(OLD + BOTH, 1)), None, config, device=CPU, clock=time.thread_time)
    champion = replace(as_version(first), facts={"trained_until": first.trained_until})
    window = window_in_memory(log(BOTH + NEW, second_day))
    return champion, train_round(window, champion, config, device=CPU, clock=time.thread_time)


def test_items_leave_with_their_rows_and_the_others_keep_their_order_and_weights() -> None:
    champion, second = rounds_of(second_day=120)
    before, after = champion.vocabulary.items, second.model.vocabulary.items
    assert sorted(before) == [*OLD, *BOTH]
    assert [item for item in after if item in BOTH] == [item for item in before if item in BOTH]
    assert sorted(after) == [*BOTH, *NEW]
    network = second.model.network
    assert len(network.items.weight) == ITEM_BUCKETS + len(after) == len(network.item_attributes)
    assert len(second.model.fusion.statistics) == len(after)
    assert second.challenger.served.recall[20] > 0.9
    vocabulary = second.model.vocabulary
    assert vocabulary.last_seen is not None
    assert (vocabulary.last_seen >= 120 * DAY).all()
    # A row that stays is the champion's, trained further, and nobody else's.
    rows = [torch.from_numpy(each.rows_of(vocabulary.item_keys[:4])) for each in (champion.vocabulary, vocabulary)]
    old, new = champion.network.items.weight[rows[0]], network.items.weight[rows[1]]
    assert (torch.cdist(old, new).argmin(1) == torch.arange(4)).all()


@pytest.mark.parametrize(("day", "days"), [(60, 90.0), (120, 0.0)])
def test_items_stay_until_then_and_for_ever_where_no_days_are_given(day: int, days: float) -> None:
    _, second = rounds_of(day, days)
    assert sorted(second.model.vocabulary.items) == [*OLD, *BOTH, *NEW]


def forgotten(known: Vocabulary, rows: Sequence[tuple[str, int]], days: float = 90.0, until: int = NO_TIME) -> str:
    """What stays of a vocabulary, and of a log of one user, by item and day."""
    events = [Event(user_id="u", type="view", item_id=item) for item, _ in rows]
    summary = summarise(sequences_of(actions_of(events, [day * DAY for _, day in rows])))
    stays = without_forgotten(known.grown(item for item, _ in rows), known, summary, days, until)
    assert stays.last_seen is not None
    assert len(stays.last_seen) == len(stays)
    return "".join(stays.items)


RECENT = [("x", 100), ("y", 100), ("z", 100)]


def test_what_a_version_knows_of_the_times_before_counts_beside_the_log() -> None:
    known = Vocabulary(["a", "b", "c"], np.array([5, 20, 5]) * DAY)
    assert forgotten(known, RECENT) == "bxyz"
    assert forgotten(known, [("c", 50), *RECENT]) == "bcxyz"


def test_items_of_a_version_without_times_count_as_seen_when_it_was_trained() -> None:
    assert forgotten(Vocabulary(["a"]), RECENT, until=20 * DAY) == "axyz"
    assert forgotten(Vocabulary(["a"]), RECENT, until=5 * DAY) == "xyz"


def test_old_items_of_the_log_itself_leave_and_times_that_are_not_known_count_as_new() -> None:
    assert forgotten(Vocabulary([]), [("a", 1), *RECENT]) == "xyz"
    events = [Event(user_id=user, type="view", item_id=user) for user in "ab"]
    summary = summarise(sequences_of(actions_of(events, [NO_TIME, 100 * DAY])))
    known = Vocabulary([]).grown("ab")
    assert without_forgotten(known, Vocabulary([]), summary, 90.0, NO_TIME).items == ("a", "b")


def test_one_event_from_the_future_does_not_make_all_others_old() -> None:
    rows = [*(("x", 100 + n // 8) for n in range(24)), ("y", 5000)]
    assert forgotten(Vocabulary(["a"], np.array([5 * DAY])), [("b", 1), *rows]) == "xy"
