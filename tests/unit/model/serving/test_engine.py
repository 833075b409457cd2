"""The fold over any split of a log equals one event at a time, and both equal a plain-Python user and `forward`."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from model.data.covisits import COVISIT_WINDOW
from model.data.events import actions_of
from model.data.recent import Recent, catalogue_items
from model.network.backbones import BackboneName
from model.network.purchase_features import purchase_features
from model.serving.answers import RANKED
from model.serving.canary import Canary
from model.serving.engine import Fold
from model.serving.serving import Serving, serve
from model.state.user_record import pack
from model.state.user_states import Stored, nothing_stored
from tests.unit.builders.basics import (
    BACKBONES,
    CPU,
    HIDDEN,
    ITEMS,
    LENGTH,
    WINDOW,
    Action,
    Logged,
    Shelf,
    UserOracle,
    logs,
    make_states,
    make_version,
    splits,
    tokens_of,
)
from tests.unit.builders.engines import Advanced, advance, answered, step, view

PARTITION = 3  # of events that do not say otherwise
HALVES = 2e-2  # hidden states are stored as halves
GROWN = (*ITEMS, "unknown", "another")


@cache
def serving_on(
    device: torch.device,
    *,
    name: str = "v1",
    items: tuple[str, ...] = ITEMS,
    seed: int = 0,
    backbone: BackboneName = "gru",
) -> Serving:
    return serve(make_version(items, name=name, seed=seed, backbone=backbone), device)


def make_fold(
    device: torch.device = CPU,
    serving: Serving | None = None,
    *,
    rules_share: float = 0.5,
    most: int = 2**31,
    stored: Stored = nothing_stored,
) -> Fold:
    fold = Fold(make_states(device, most=most, stored=stored), rules_share=rules_share)
    fold.serving = serving
    return fold


def slot_of(fold: Fold, owner: tuple[int, str]) -> int:
    slot = fold.states.slot(*owner)
    assert slot is not None
    return slot


def records_of(fold: Fold, log: list[Logged]) -> dict[tuple[int, str], bytes]:
    owners = sorted({logged.owner for logged in log})
    slots = fold.slots_of([partition for partition, _ in owners], [user for _, user in owners])
    return dict(zip(owners, pack(fold.states.snapshot(slots)), strict=True))


class Oracle:
    """All users, one event at a time."""

    def __init__(self) -> None:
        self.users: defaultdict[tuple[int, str], UserOracle] = defaultdict(UserOracle)
        self.duplicates = 0

    def take(self, batch: list[Logged]) -> list[tuple[int, list[Action]]]:
        """Of the new events of a batch: places, and the sequences that their answers are about."""
        shown = []
        for place, logged in enumerate(batch):
            user = self.users[logged.owner]
            outcome = user.take(logged)
            self.duplicates += outcome == "repeat"
            if outcome != "replay":
                shown.append((place, list(user.sequence)))
        return shown


def whole(serving: Serving, sequence: list[Action]) -> tuple[Tensor, Tensor]:
    """Hidden state (H,) and vector (D,) after a sequence, by `forward`."""
    tokens = tokens_of(sequence, serving.vocabulary.items).to(serving.device)
    with torch.inference_mode():
        states, vectors = serving.network(tokens)
    return states[0, -1], vectors[0, -1]


def check_state(fold: Fold, oracle: Oracle) -> None:
    states = fold.states
    assert len(states) == len(oracle.users)
    for owner, user in oracle.users.items():
        slot = slot_of(fold, owner)
        item_keys, contexts, sizes = states.histories.gather(np.array([slot]))
        kept = user.sequence[-LENGTH:]
        assert sizes.tolist() == [len(kept)]
        assert item_keys[0, : len(kept)].tolist() == [action.object for action in kept]
        assert contexts[0, : len(kept)].tolist() == [action.context for action in kept]
        assert states.histories.counts[slot] == len(user.sequence)
        assert states.offsets[slot] == user.offset
        assert states.last_times[slot] == user.last_time
        assert states.sessions[slot] == user.session
        assert states.event_ids[slot].tolist() == [0] * (WINDOW - len(user.ids)) + list(user.ids)


def check_hidden(fold: Fold, oracle: Oracle, serving: Serving) -> None:
    for owner, user in oracle.users.items():
        slot = slot_of(fold, owner)
        assert fold.states.weights_id[slot] == serving.weights_id
        wanted, _ = whole(serving, user.sequence)
        torch.testing.assert_close(fold.states.hidden[slot].float(), wanted, atol=HALVES, rtol=0)


def lately(serving: Serving, sequence: list[Action]) -> NDArray[np.int32]:
    """The habits that the last actions of a user show."""
    item_keys = np.array([action.object for action in sequence[-LENGTH:]], np.uint64)
    contexts = np.array([action.context for action in sequence[-LENGTH:]], np.uint32)
    items = catalogue_items(serving.vocabulary, item_keys, contexts)
    return purchase_features(Recent(items, contexts, np.array([0]), np.array([len(items)])))


def check_answer(advanced: Advanced, row: int, serving: Serving, sequence: list[Action]) -> None:
    """One answer against full softmaxes over everything."""
    answers, network, vector = advanced.answers, serving.network, whole(serving, sequence)[1]
    assert answers.version == serving.name
    assert answers.names == serving.vocabulary.items
    with torch.inference_mode():
        query = network.config.logit_scale * vector / vector.norm()
        table = network.items.weight[1024:]
        wanted = (table / table.norm(dim=1, keepdim=True) @ query).softmax(0).cpu().numpy()
        types = network.next_type(vector).softmax(0).cpu().numpy()
        logit = network.purchase(torch.from_numpy(lately(serving, sequence)).to(serving.device))
        bought = torch.sigmoid(0.5 * logit - 1.0).item()
    items = answers.items[row]
    assert len(set(items.tolist())) == RANKED
    assert answers.probabilities[row] == pytest.approx(wanted[items], abs=HALVES)
    assert answers.probabilities[row] == pytest.approx(-np.sort(-wanted)[:RANKED], abs=HALVES)
    assert answers.next_type[row] == pytest.approx(types, abs=HALVES)
    assert answers.purchase[row] == pytest.approx(bought, abs=HALVES)


@pytest.mark.parametrize("backbone", BACKBONES)
@settings(max_examples=40)
@given(logs(), st.data())
def test_any_split_of_a_log_with_replays_ends_in_the_same_state(
    device: torch.device, backbone: BackboneName, log: list[Logged], data: st.DataObject
) -> None:
    serving = serving_on(device, backbone=backbone)
    fold, oracle = make_fold(device, serving), Oracle()
    duplicates = 0
    for batch in data.draw(splits(log)):
        shown = oracle.take(batch)
        advanced = advance(fold, batch)
        duplicates += advanced.stepped.duplicates
        assert advanced.stepped.places.tolist() == [place for place, _ in shown]
        assert advanced.stepped.history_lengths.tolist() == [len(sequence) for _, sequence in shown]
        touched = {slot_of(fold, batch[place].owner) for place, _ in shown}
        assert set(advanced.stepped.touched.tolist()) == touched
        for row, (_, sequence) in enumerate(shown):
            check_answer(advanced, row, serving, sequence)
    assert duplicates == oracle.duplicates
    check_state(fold, oracle)
    check_hidden(fold, oracle, serving)


@settings(max_examples=25)
@given(logs(), st.data())
def test_batches_answer_like_single_events(log: list[Logged], data: st.DataObject) -> None:
    single, batched = make_fold(serving=serving_on(CPU)), make_fold(serving=serving_on(CPU))
    for batch in data.draw(splits(log)):
        alone = [advance(single, [logged]) for logged in batch]
        together = advance(batched, batch)
        for row, one in enumerate(advanced.answers for advanced in alone if len(advanced.stepped.places)):
            many = together.answers
            assert many.next_type[row] == pytest.approx(one.next_type[0], abs=HALVES)
            assert many.purchase[row] == pytest.approx(one.purchase[0], abs=HALVES)
            assert many.probabilities[row] == pytest.approx(one.probabilities[0], abs=HALVES)
        assert len(joined(alone, "rules_places")) == len(together.stepped.rules_places)
        assert sum(len(one.scored.places) for one in alone) == len(together.scored.places)


@settings(max_examples=40)
@given(logs(most=COVISIT_WINDOW), st.data())
def test_rules_answer_batches_like_single_events(log: list[Logged], data: st.DataObject) -> None:
    # Within what the rules look back at: beyond it they see more or less of a user, as the batches fall.
    single, batched = (Fold(make_states(length=64), rules_share=0) for _ in range(2))
    for batch in data.draw(splits(log)):
        alone = [advance(single, [logged]) for logged in batch]
        together = advance(batched, batch)
        for row, one in enumerate(advanced.answers for advanced in alone if len(advanced.stepped.places)):
            assert names_of(together, row) == [one.names[item] for item in one.items[0] if item >= 0]
            assert together.answers.next_type[row].tolist() == one.next_type[0].tolist()
            assert together.answers.purchase[row] == one.purchase[0]
        assert joined(alone, "rules_places") == together.stepped.rules_places.tolist()


def names_of(advanced: Advanced, row: int) -> list[str]:
    return [advanced.answers.names[item] for item in advanced.answers.items[row] if item >= 0]


def joined(several: list[Advanced], column: str) -> list[int]:
    return [int(value) for advanced in several for value in getattr(advanced.stepped, column)]


@settings(max_examples=25)
@given(logs(), st.data())
def test_a_restart_changes_nothing(log: list[Logged], data: st.DataObject) -> None:
    serving = serving_on(CPU)
    shelf = Shelf()
    before, after = make_fold(serving=serving), make_fold(serving=serving, stored=shelf)
    end = data.draw(st.integers(0, len(log)))
    back = data.draw(st.integers(0, end))
    advance(before, log[:end])
    shelf.update(records_of(before, log[:end]))
    went_on, restarted = advance(before, log[end:]), advance(after, log[back:])
    assert restarted.stepped.places.tolist() == [place + end - back for place in went_on.stepped.places]
    assert restarted.stepped.history_lengths.tolist() == went_on.stepped.history_lengths.tolist()
    assert restarted.answers.items.tolist() == went_on.answers.items.tolist()
    assert restarted.answers.next_type.tolist() == went_on.answers.next_type.tolist()
    assert records_of(after, log) == records_of(before, log)


@settings(max_examples=25)
@given(logs(), logs(users="abcd"))
def test_users_are_encoded_anew_when_touched_under_other_weights(
    device: torch.device, first: list[Logged], second: list[Logged]
) -> None:
    old, new = serving_on(device), serving_on(device, name="v2", items=GROWN, seed=1)
    fold, oracle = make_fold(device, old), Oracle()
    oracle.take(first)
    advance(fold, first)
    fold.serving = new
    start = first[-1].offset + 1 if first else 0
    moved = [replace(logged, offset=logged.offset + start) for logged in second]
    for user in oracle.users.values():
        user.sequence = user.sequence[-LENGTH:]  # all that a new network can still read
    shown = oracle.take(moved)
    advanced = advance(fold, moved)
    touched = {logged.owner for logged in moved}
    for owner, user in oracle.users.items():
        slot = slot_of(fold, owner)
        used = new if owner in touched else old
        assert fold.states.weights_id[slot] == used.weights_id
        if owner in touched:
            torch.testing.assert_close(
                fold.states.hidden[slot].float(), whole(new, user.sequence)[0], atol=HALVES, rtol=0
            )
    for row, (_, sequence) in enumerate(shown):
        check_answer(advanced, row, new, sequence)


def test_more_users_than_are_encoded_at_once_are_all_encoded(device: torch.device) -> None:
    fold, oracle = make_fold(device), Oracle()  # the rules serve, so nobody has a hidden state
    users = [f"user {n}" for n in range(600)]
    order = np.random.default_rng(0).choice(users, 1500).tolist() + users
    first = [view(n, user, ITEMS[n % 9]) for n, user in enumerate(order)]
    oracle.take(first)
    advance(fold, first)
    for user in oracle.users.values():
        user.sequence = user.sequence[-LENGTH:]
    fold.serving = serving_on(device)
    second = [view(len(first) + n, user) for n, user in enumerate(users)]
    oracle.take(second)
    advance(fold, second)
    check_hidden(fold, oracle, fold.serving)


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("batch", [[], [view(0), view(1)]], ids=["empty", "replays only"])
def test_nothing_new_changes_and_answers_nothing(batch: list[Logged], served: bool, device: torch.device) -> None:
    fold = make_fold(device, serving_on(device) if served else None)
    advance(fold, [view(0), view(1)])
    before = pack(fold.states.snapshot(np.arange(2)))
    advanced = advance(fold, batch)
    assert advanced.stepped.places.shape == advanced.stepped.slots.shape == advanced.stepped.touched.shape == (0,)
    assert advanced.answers.items.shape == (0, RANKED)
    assert advanced.stepped.duplicates == 0
    assert pack(fold.states.snapshot(np.arange(2))) == before


def test_a_repeat_is_answered_from_the_state_as_it_is(device: torch.device) -> None:
    serving = serving_on(device)
    fold, oracle = make_fold(device, serving), Oracle()
    advance(fold, [view(0, event_id="x"), view(1, item="item 2")])
    oracle.take([view(0), view(1, item="item 2")])
    user = oracle.users[PARTITION, "a"]
    batch = [view(2, event_id="x", type="purchase"), view(3), view(4, event_id="x"), view(5, user="b")]
    advanced = advance(fold, batch)
    assert advanced.stepped.duplicates == 2
    assert advanced.stepped.history_lengths.tolist() == [2, 3, 3, 1]
    check_answer(advanced, 0, serving, user.sequence)
    oracle.take([view(3)])
    for row in (1, 2):
        check_answer(advanced, row, serving, user.sequence)
    assert fold.states.offsets[slot_of(fold, (PARTITION, "a"))] == 4


def test_the_rules_answer_a_repeat_from_the_state_as_it_is() -> None:
    fold = make_fold()
    advance(fold, [view(n, type="view") for n in range(8)])
    first = advance(fold, [view(8, event_id="x")])
    repeat = advance(fold, [view(9, event_id="x", type="purchase")])
    assert repeat.stepped.duplicates == 1
    assert repeat.answers.next_type.tolist() == first.answers.next_type.tolist()


def test_the_same_user_on_two_partitions_is_two_users(device: torch.device) -> None:
    fold = make_fold(device, serving_on(device))
    here, there = [view(0), view(1)], [replace(view(n), partition=1) for n in range(2)]
    assert advance(fold, [*here, there[0]]).stepped.history_lengths.tolist() == [1, 2, 1]
    assert advance(fold, [there[1]]).stepped.history_lengths.tolist() == [2]
    fold.clear()
    assert advance(fold, [there[1], here[0]]).stepped.history_lengths.tolist() == [1, 1]
    assert fold.nbytes > fold.states.nbytes


def test_without_a_model_the_rules_answer() -> None:
    fold = make_fold(rules_share=0)
    advanced = advance(fold, [view(0), view(1, item="item 2"), view(2, user="b", item="item 1")])
    assert advanced.answers.version == "baseline"
    assert names_of(advanced, 1) == ["item 2", "item 1"]
    # The answers after the first and the second event of "a": "item 2" was not yet known, and nobody asked "b".
    assert advanced.stepped.rules_places.tolist() == [0]
    assert advanced.scored.places.tolist() == []


def test_each_item_scores_the_answer_before_it() -> None:
    serving = serving_on(CPU)
    fold = make_fold(serving=serving)
    first = advance(fold, [view(0)]).answers
    for place in (0, 7, RANKED - 1):
        again = make_fold(serving=serving)
        item = ITEMS[first.items[0, place]]
        advanced = advance(again, [view(0), view(1, item=item), view(2, user="b")])
        assert advanced.scored.places.tolist() == [place + 1]
    outside = next(item for n, item in enumerate(ITEMS) if n not in first.items[0])
    assert advance(fold, [view(1, item=outside)]).scored.places.tolist() == [0]


def test_rules_are_scored_only_on_users_whom_they_still_follow() -> None:
    fold = make_fold(rules_share=0.5)  # every other slot, once a model serves
    users = [f"user {n}" for n in range(6)]
    advance(fold, [view(n, user) for n, user in enumerate(users)])
    fold.serving = serving_on(CPU)
    scored = []
    for turn in (1, 2):
        batch = [view(10 * turn + n, user) for n, user in enumerate(users)]
        scored.append(len(advance(fold, batch).stepped.rules_places))
    assert scored == [3, 3]


def test_forgotten_users_take_their_answers_along() -> None:
    fold = make_fold(serving=serving_on(CPU), rules_share=1)
    advance(fold, [view(0)])
    fold.clear()
    advanced = advance(fold, [view(0, user="other")])
    assert advanced.scored.places.tolist() == advanced.stepped.rules_places.tolist() == []


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_states_have_the_size_of_the_network(backbone: BackboneName) -> None:
    network = serving_on(CPU, backbone=backbone).network
    assert network.backbone.state_size == network.config.hidden == HIDDEN


def test_a_user_whose_slot_was_another_ones_is_not_scored_by_the_answers_to_that_one() -> None:
    fold = make_fold(serving=serving_on(CPU), rules_share=1, most=1)
    assert len(advance(fold, [view(0), view(1)]).scored.places) == 1
    fold.states.settled = fold.states.batch + 1
    after = advance(fold, [view(2, "b")])
    assert fold.states.evicted.tolist() == after.stepped.slots.tolist()
    assert len(after.scored.places) == len(after.stepped.rules_places) == 0
    assert len(advance(fold, [view(3, "b")]).stepped.rules_places) == 1


def test_users_of_a_canary_stay_with_the_version_before() -> None:
    before, serving = serving_on(CPU, name="before", seed=1), serving_on(CPU)
    fold, alone = make_fold(serving=serving), {name: make_fold(serving=serving_on(CPU)) for name in ("v1", "before")}
    alone["before"].serving = before
    fold.serve(serving, Canary(before, 0.3))
    users = [f"user {n}" for n in range(40)]
    batch = [view(n, user) for n, user in enumerate(users * 2)]
    parts = advance_all(fold, batch)
    assert {part.answers.version for part in parts} == {"v1", "before"}
    assert sorted(place for part in parts for place in part.stepped.places.tolist()) == list(range(80))
    stay = {
        users[place % 40]
        for part in parts
        if part.answers.version == "before"
        for place in part.stepped.places.tolist()
    }
    assert 4 <= len(stay) <= 20
    assert stay == set(np.array(users)[Canary(before, 0.3).stays(users)])
    for part in parts:
        expected = advance(alone[part.answers.version], [batch[place] for place in part.stepped.places.tolist()])
        assert part.answers.purchase == pytest.approx(expected.answers.purchase, abs=HALVES)
        assert len(part.scored.places) == len(part.stepped.places) / 2


def test_purchases_are_settled_by_the_version_that_foretold_them_also_of_users_who_leave() -> None:
    before = serving_on(CPU, name="before", seed=1)
    fold = make_fold(serving=serving_on(CPU))
    fold.serve(serving_on(CPU), Canary(before, 0.5))
    users = np.array([f"user {n}" for n in range(40)])
    stays = Canary(before, 0.5).stays(users.tolist())
    leaving, coming = [*users[stays][:2], users[~stays][0]], [users[stays][2], users[~stays][1]]
    first = advance_all(fold, [view(n, user) for n, user in enumerate(leaving)])
    advance_all(fold, [view(3, leaving[0], type="purchase")])
    predicted: dict[str, list[float]] = {part.answers.version: part.answers.purchase.tolist() for part in first}
    settled, bought = defaultdict[str, list[float]](list), []
    for batch in range(70):  # elsewhere, which says nothing about when partition 0 has got to
        there = replace(view(20_000 + batch, coming[1]), partition=1)
        assert not any(len(part.scored.purchases.bought) for part in advance_all(fold, [there]))
    for batch in range(70):
        for part in advance_all(fold, [view(20_000 + 2 * batch + n, user) for n, user in enumerate(coming)]):
            settled[part.answers.version] += part.scored.purchases.predicted.tolist()
            bought += part.scored.purchases.bought.tolist()
    assert settled == predicted
    assert sum(bought) == 1


def test_batches_that_are_answered_after_the_next_one_was_stepped_get_the_same_answers() -> None:
    versions = [serving_on(CPU), serving_on(CPU, name="v2", seed=1)]
    users, rng = [f"user {n}" for n in range(9)], random.Random(1)
    batches = [[view(6 * n + k, rng.choice(users), rng.choice(ITEMS)) for k in range(6)] for n in range(40)]
    at_once, staggered = (make_fold(rules_share=1, most=7) for _ in range(2))  # users take each other's slots
    expected, found, waiting = list[Advanced](), list[Advanced](), None
    for number, batch in enumerate(batches):
        for fold in (at_once, staggered):
            fold.states.settled = fold.states.batch + 1
            if number in (4, 20):
                fold.serve(versions[number // 20])
            if number == 30:
                fold.clear()
        expected.append(advance(at_once, batch))
        stepped = step(staggered, batch)
        found += [] if waiting is None else [answered(staggered, waiting)]
        waiting = stepped
    assert waiting is not None
    found.append(answered(staggered, waiting))
    assert [advanced.answers.version for advanced in found[::10]] == ["baseline", "v1", "v2", "v2"]
    assert sum(len(advanced.scored.places) for advanced in found) > 50
    for one, other in zip(expected, found, strict=True):
        assert one.answers.version == other.answers.version
        np.testing.assert_array_equal(one.answers.items, other.answers.items)
        np.testing.assert_array_equal(one.answers.purchase, other.answers.purchase)
        np.testing.assert_array_equal(one.scored.places, other.scored.places)
        np.testing.assert_array_equal(one.scored.purchases, other.scored.purchases)


def test_a_new_version_is_not_scored_by_answers_of_the_old_one() -> None:
    fold = make_fold(serving=serving_on(CPU))
    advance(fold, [view(0)])
    fold.serve(serving_on(CPU, name="new", seed=1))
    assert advance(fold, [view(1)]).scored.places.tolist() == []
    assert len(advance(fold, [view(2)]).scored.places) == 1


def advance_all(fold: Fold, batch: list[Logged]) -> list[Advanced]:
    actions = actions_of([logged.event for logged in batch], [logged.time for logged in batch])
    slots = fold.slots_of([logged.partition for logged in batch], actions.users)
    stepped = fold.step_all(slots, actions, np.array([logged.offset for logged in batch], np.int64))
    return [answered(fold, part) for part in stepped]
