"""A live run is a worker on a log: its states, its answers, its scores; and it never looks ahead."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.data.events import EVENT_TYPES, SEARCH, Actions
from model.data.sequences import sequences_of
from model.evaluation.evaluate import learned_rules
from model.evaluation.live_scores import LiveScores
from model.evaluation.ranking import MISSED
from model.serving.state_engine import StateEngine
from model.statistics.counter import StatisticsCounter
from model.statistics.log_statistics import counter_of
from model.statistics.statistics_table import StatisticsTable
from stream_app.contract.predictions import decode_prediction
from stream_app.offline.live_log import batches
from stream_app.offline.live_run import DelayedStatistics, LiveModel, LiveRun, _pipeline, run_live
from tests.unit.builders.basics import CPU, unpacked, version
from tests.unit.builders.live import SETTINGS, actions_in, live_log, shop_log

BEFORE = shop_log(300, seed=1, items=60)
AFTER = shop_log(260, seed=2, items=90, begin=1_700_090_000_000, users=16)  # 20 items that the version lacks


class Notes(StatisticsCounter):
    """Statistics that note what they are told, too."""

    def __init__(self) -> None:
        super().__init__(StatisticsTable())
        self.items: list[str] = []

    def learn(self, actions: Actions, *, counted: bool = True) -> None:
        self.items += actions.items
        super().learn(actions, counted=counted)


def model(counter: StatisticsCounter | None = None) -> LiveModel:
    log = sequences_of(actions_in(BEFORE))
    return LiveModel(version(), learned_rules(log), counter or counter_of(log))


def scored(after: list[Any]) -> LiveScores:
    return run_live(LiveRun(model(), live_log(BEFORE, after)), SETTINGS, CPU)


def test_no_score_changes_when_the_log_is_cut_behind_it() -> None:
    whole = scored(AFTER)
    for end in (1, 2, 57, 130, 259):
        part = scored(AFTER[:end])
        count = int((whole.targets.events < end).sum())
        assert len(part) == count
        for name in ("model_ranks", "rules_ranks", "known_users", "kinds"):
            assert getattr(part, name).tolist() == getattr(whole, name)[:count].tolist()
    assert 0.05 < (whole.model_ranks != MISSED).mean() < 0.95
    assert 0.05 < (whole.rules_ranks != MISSED).mean() < 0.95
    assert len(set(whole.kinds.tolist())) == 4


def test_the_model_is_scored_by_what_it_would_have_published() -> None:
    """The twentieth recommendation is the last one that counts."""
    log = live_log(BEFORE, AFTER)
    published = _published(LiveRun(model(), log))
    ranks, last = [], dict[str, list[str]]()
    for number, (user, kind, first_item, fresh) in enumerate(_events(AFTER, BEFORE)):
        if fresh and kind != "search" and user in last:
            listed = last[user]
            ranks.append(1 + listed.index(first_item) if first_item in listed else MISSED)
        last[user] = published[number]
    assert scored(AFTER).model_ranks.tolist() == ranks


def test_an_item_of_the_log_is_recommended_where_statistics_learn_and_not_where_they_stand_still() -> None:
    learned = scored(AFTER)
    still = run_live(LiveRun(replace(model(), counter=None), live_log(BEFORE, AFTER)), SETTINGS, CPU)
    born = ~np.isin(learned.targets.item_keys, version().vocabulary.item_keys)
    assert (learned.model_ranks[born] != MISSED).any()
    assert (still.model_ranks[born] == MISSED).all()


def test_an_item_is_known_to_the_answer_after_the_very_event_that_named_it() -> None:
    pipeline, counter = _pipeline(LiveRun(model(), live_log(BEFORE, AFTER)), SETTINGS, CPU), model().counter
    assert counter is not None
    pipeline.use_statistics(DelayedStatistics(counter, 0))
    for batch in batches(live_log(BEFORE, AFTER).records):
        received = pipeline.decode(batch, 0)
        pipeline.answer(pipeline.step(received))
        touched = received.actions.item_keys[received.actions.types != SEARCH]
        assert (counter.table.rows_of(touched) >= 0).all()


def test_the_rules_learn_on_from_what_they_knew() -> None:
    rules, recents = learned_rules(sequences_of(actions_in(BEFORE))), defaultdict[str, list[int]](list)
    ranks, answers = list[int](), dict[str, list[int]]()
    fresh = [row[-1] for row in _events([*BEFORE, *AFTER], [])]
    for number, record in enumerate([*BEFORE, *AFTER]):
        actions, live = actions_in([record]), number >= len(BEFORE)
        user, keys = actions.users[0], actions.item_keys.tolist()
        if fresh[number] and actions.types[0] != SEARCH:
            if user in answers:
                ranks.append(1 + answers[user].index(keys[0]) if keys[0] in answers[user] else MISSED)
            for key, name in zip(keys, actions.items, strict=True):
                if live:
                    rules.learn(recents[user][:10], key, name)
                recents[user].insert(0, key)
        if live:
            answers[user] = rules.rank(recents[user][:10], 20)
    assert scored(AFTER).rules_ranks.tolist() == ranks


def test_users_begin_with_the_states_that_their_past_would_have_given_them() -> None:
    log = live_log(BEFORE, AFTER)
    brought = _pipeline(LiveRun(model(), log), SETTINGS, CPU)._state_engine
    streamed = _pipeline(LiveRun(model(), live_log([], BEFORE)), SETTINGS, CPU)
    for batch in batches(live_log([], BEFORE).records):
        streamed.step(streamed.decode(batch, 0))
    for user in log.past.users:
        assert _state(brought, user) == _state(streamed._state_engine, user)
    assert len(log.past.users) == 12


@pytest.mark.parametrize("lag", [0.0, 3.0])
def test_statistics_learn_what_was_answered_and_not_before_its_time(lag: float) -> None:
    notes, known = Notes(), list[int]()
    run = LiveRun(model(notes), live_log(BEFORE, AFTER), lag=lag)
    run_live(run, SETTINGS, CPU, lambda _done: known.append(len(notes.items)))
    made = list(batches(run.log.records))
    for number, count in enumerate(known):
        due = [one for one in made[:number] if one[-1].timestamp + 1000 * lag <= made[number][0].timestamp]
        events = [AFTER[record.offset] for batch in due for record in batch]
        assert count == sum(len(items) for *_, items in _lines(events))
    assert known[-1] > 250


def test_delayed_statistics_take_in_what_is_due() -> None:
    notes = Notes()
    delayed = DelayedStatistics(notes, 2.0)
    actions = actions_in(shop_log(2, seed=1))
    delayed.tell(1000, actions)
    for now, count in ((1000, 0), (2999, 0), (3000, 2), (9000, 2)):
        delayed.catch_up(now)
        assert len(notes.items) == count


def _published(run: LiveRun) -> list[list[str]]:
    """What is recommended after each event of a log."""
    pipeline, counter = _pipeline(run, SETTINGS, CPU), run.model.counter
    assert counter is not None
    pipeline.use_statistics(DelayedStatistics(counter, 0))
    lists = dict[int, list[str]]()
    for batch in batches(run.log.records):
        received = pipeline.decode(batch, 0)
        results = pipeline.encode(pipeline.answer(pipeline.step(received)))
        counter.learn(received.actions)
        for result in results:
            for sent in unpacked(result.predictions):
                prediction = decode_prediction(sent.value or b"")
                lists[prediction.source.offset] = [one.item_id for one in prediction.recommendations]
    return [lists[offset] for offset in range(len(lists))]


def _lines(records: list[Any]) -> list[tuple[str, str, list[str]]]:
    """User, type and items of events; of a search one without an id."""
    rows = []
    for record in records:
        actions = actions_in([record])
        rows.append((actions.users[0], EVENT_TYPES[actions.types[0]], actions.items))
    return rows


def _events(records: list[Any], before: list[Any]) -> list[tuple[str, str, str, bool]]:
    """User, type, first item, and whether the event is none of the user's last sixteen."""
    ids, rows = defaultdict[str, list[int]](list), []
    for record in before:
        ids[record.key.decode()].append(int(actions_in([record]).event_ids[0]))
    for record, (user, kind, items) in zip(records, _lines(records), strict=True):
        event_id = int(actions_in([record]).event_ids[0])
        fresh = event_id not in list(dict.fromkeys(ids[user]))[-16:]
        ids[user] += [event_id] if fresh else []
        rows.append((user, kind, items[0], fresh))
    return rows


def _state(engine: StateEngine, user: str) -> list[Any]:
    states = engine.states
    slot = next(slot for partition in range(SETTINGS.partitions) if (slot := states.slot(partition, user)) is not None)
    item_keys, contexts, sizes = states.histories.gather(np.array([slot]))
    size = int(sizes[0])
    ring = [item_keys[0, :size].tolist(), contexts[0, :size].tolist(), int(states.histories.counts[slot])]
    return [*ring, int(states.last_times[slot]), int(states.sessions[slot]), states.event_ids[slot].tolist()]
