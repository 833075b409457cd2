"""The state engine over any split of a log equals one event at a time; both equal a plain-Python user and `forward`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from model.data.covisits import COVISIT_WINDOW
from model.data.events import Event
from model.data.recent import RecentActions, catalogue_items
from model.network.backbones import BackboneName
from model.network.purchase_features import purchase_features
from model.serving.answers import RANKED
from model.serving.canary import Canary
from model.serving.rules import Rules
from model.serving.serving import Serving
from model.state.join_notes import Source
from model.state.user_joins import give_sequence, take_sequence
from model.state.user_record import pack
from model.state.user_states import UserStates
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
    splits,
    tokens_of,
)
from tests.unit.builders.engines import BatchOutcome, Engines, make_engines, serving_on, view

PARTITION = 3  # of events that do not say otherwise
HALVES = 2e-2  # hidden states are stored as halves
GROWN = (*ITEMS, "unknown", "another")


def slot_of(engines: Engines, owner: tuple[int, str]) -> int:
    slot = engines.states.slot(*owner)
    assert slot is not None
    return slot


def records_of(engines: Engines, log: list[Logged]) -> dict[tuple[int, str], bytes]:
    owners = sorted({logged.owner for logged in log})
    slots = engines.state_engine.slots_of([partition for partition, _ in owners], [user for _, user in owners])
    return dict(zip(owners, pack(engines.states.snapshot(slots)), strict=True))


class Oracle:
    """All users, one event at a time."""

    def __init__(self) -> None:
        self.users: defaultdict[tuple[int, str], UserOracle] = defaultdict(UserOracle)
        self.duplicates = 0

    def take(self, batch: list[Logged]) -> list[tuple[int, list[Action]]]:
        """Indices of the new events of a batch, and the sequences that their answers are about."""
        shown = []
        for index, logged in enumerate(batch):
            user = self.users[logged.owner]
            outcome = user.take(logged)
            self.duplicates += outcome == "repeat"
            if outcome != "replay":
                shown.append((index, list(user.sequence)))
        return shown


def whole(serving: Serving, sequence: list[Action]) -> tuple[Tensor, Tensor]:
    """Hidden state (H,) and vector (D,) after a sequence, by `forward`."""
    tokens = tokens_of(sequence, serving.vocabulary.items).to(serving.device)
    with torch.inference_mode():
        states, vectors = serving.network(tokens)
    return states[0, -1], vectors[0, -1]


def check_state(engines: Engines, oracle: Oracle) -> None:
    states = engines.states
    assert len(states) == len(oracle.users)
    for owner, user in oracle.users.items():
        slot = slot_of(engines, owner)
        item_keys, contexts, sizes = states.histories.gather(np.array([slot]))
        last = user.sequence[-LENGTH:]
        assert sizes.tolist() == [len(last)]
        assert item_keys[0, : len(last)].tolist() == [action.object for action in last]
        assert contexts[0, : len(last)].tolist() == [action.context for action in last]
        assert states.histories.counts[slot] == len(user.sequence)
        assert states.offsets[slot] == user.offset
        assert states.last_times[slot] == user.last_time
        assert states.sessions[slot] == user.session
        assert states.event_ids[slot].tolist() == [0] * (WINDOW - len(user.ids)) + list(user.ids)


def check_hidden(engines: Engines, oracle: Oracle, serving: Serving) -> None:
    for owner, user in oracle.users.items():
        slot = slot_of(engines, owner)
        assert engines.states.weights_id[slot] == serving.weights_id
        wanted, _ = whole(serving, user.sequence)
        torch.testing.assert_close(engines.states.hidden[slot].float(), wanted, atol=HALVES, rtol=0)


def recent_features(serving: Serving, sequence: list[Action]) -> NDArray[np.int32]:
    """The features of a purchase that the last actions of a user have."""
    item_keys = np.array([action.object for action in sequence[-LENGTH:]], np.uint64)
    contexts = np.array([action.context for action in sequence[-LENGTH:]], np.uint32)
    items = catalogue_items(serving.vocabulary, item_keys, contexts)
    return purchase_features(
        RecentActions(items, contexts, np.array([0]), np.array([len(items)]), np.zeros(len(items), np.uint64))
    )


def check_answer(outcome: BatchOutcome, row: int, serving: Serving, sequence: list[Action]) -> None:
    """One answer against full softmaxes over everything."""
    answers, network, vector = outcome.answers, serving.network, whole(serving, sequence)[1]
    assert answers.version == serving.name
    assert tuple(answers.names) == serving.vocabulary.items
    with torch.inference_mode():
        query = network.config.logit_scale * vector / vector.norm()
        table = network.items.weight[1024:]
        wanted = (table / table.norm(dim=1, keepdim=True) @ query).softmax(0).cpu().numpy()
        types = network.next_type(vector).softmax(0).cpu().numpy()
        logit = network.purchase(torch.from_numpy(recent_features(serving, sequence)).to(serving.device))
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
    engines, oracle = make_engines(device, serving), Oracle()
    duplicates = 0
    for batch in data.draw(splits(log)):
        shown = oracle.take(batch)
        outcome = engines.advance(batch)
        duplicates += outcome.stepped.events.duplicates
        assert outcome.stepped.events.indices.tolist() == [index for index, _ in shown]
        assert outcome.stepped.history_lengths.tolist() == [len(sequence) for _, sequence in shown]
        changed = {slot_of(engines, batch[index].owner) for index, _ in shown}
        assert set(outcome.stepped.changed_slots.tolist()) == changed
        for row, (_, sequence) in enumerate(shown):
            check_answer(outcome, row, serving, sequence)
    assert duplicates == oracle.duplicates
    check_state(engines, oracle)
    check_hidden(engines, oracle, serving)


@settings(max_examples=25)
@given(logs(), st.data())
def test_batches_answer_like_single_events(log: list[Logged], data: st.DataObject) -> None:
    single, batched = make_engines(serving=serving_on(CPU)), make_engines(serving=serving_on(CPU))
    for batch in data.draw(splits(log)):
        alone = [single.advance([logged]) for logged in batch]
        together = batched.advance(batch)
        for row, one in enumerate(outcome.answers for outcome in alone if len(outcome.stepped.events.indices)):
            many = together.answers
            assert many.next_type[row] == pytest.approx(one.next_type[0], abs=HALVES)
            assert many.purchase[row] == pytest.approx(one.purchase[0], abs=HALVES)
            assert many.probabilities[row] == pytest.approx(one.probabilities[0], abs=HALVES)
        assert len(joined(alone, "rules_ranks")) == len(together.stepped.rules_ranks)
        assert sum(len(one.scores.ranks) for one in alone) == len(together.scores.ranks)


@settings(max_examples=40)
@given(logs(most=COVISIT_WINDOW), st.data())
def test_rules_answer_batches_like_single_events(log: list[Logged], data: st.DataObject) -> None:
    # Within what the rules look back at: beyond it they see more or less of a user, as the batches fall.
    single, batched = (Engines(make_states(length=64), rules_share=0) for _ in range(2))
    for batch in data.draw(splits(log)):
        alone = [single.advance([logged]) for logged in batch]
        together = batched.advance(batch)
        for row, one in enumerate(outcome.answers for outcome in alone if len(outcome.stepped.events.indices)):
            assert names_of(together, row) == [one.names[item] for item in one.items[0] if item >= 0]
            assert together.answers.next_type[row].tolist() == one.next_type[0].tolist()
            assert together.answers.purchase[row] == one.purchase[0]
        assert joined(alone, "rules_ranks") == together.stepped.rules_ranks.tolist()


def names_of(outcome: BatchOutcome, row: int) -> list[str]:
    return [outcome.answers.names[item] for item in outcome.answers.items[row] if item >= 0]


def joined(several: list[BatchOutcome], column: str) -> list[int]:
    return [int(value) for outcome in several for value in getattr(outcome.stepped, column)]


@settings(max_examples=25)
@given(logs(), st.data())
def test_a_restart_changes_nothing(log: list[Logged], data: st.DataObject) -> None:
    serving = serving_on(CPU)
    shelf = Shelf()
    before, after = make_engines(serving=serving), make_engines(serving=serving, stored=shelf)
    end = data.draw(st.integers(0, len(log)))
    back = data.draw(st.integers(0, end))
    before.advance(log[:end])
    shelf.update(records_of(before, log[:end]))
    went_on, restarted = before.advance(log[end:]), after.advance(log[back:])
    assert restarted.stepped.events.indices.tolist() == [index + end - back for index in went_on.stepped.events.indices]
    assert restarted.stepped.history_lengths.tolist() == went_on.stepped.history_lengths.tolist()
    assert restarted.answers.items.tolist() == went_on.answers.items.tolist()
    assert restarted.answers.next_type.tolist() == went_on.answers.next_type.tolist()
    assert records_of(after, log) == records_of(before, log)


@settings(max_examples=25)
@given(logs(), logs(users="abcd"))
def test_users_touched_under_other_weights_are_encoded_again(
    device: torch.device, first: list[Logged], second: list[Logged]
) -> None:
    old, new = serving_on(device), serving_on(device, name="v2", items=GROWN, seed=1)
    engines, oracle = make_engines(device, old), Oracle()
    oracle.take(first)
    engines.advance(first)
    engines.state_engine.serve(new)
    start = first[-1].offset + 1 if first else 0
    moved = [replace(logged, offset=logged.offset + start) for logged in second]
    for user in oracle.users.values():
        user.sequence = user.sequence[-LENGTH:]  # all that a new network can still read
    shown = oracle.take(moved)
    outcome = engines.advance(moved)
    touched = {logged.owner for logged in moved}
    for owner, user in oracle.users.items():
        slot = slot_of(engines, owner)
        used = new if owner in touched else old
        assert engines.states.weights_id[slot] == used.weights_id
        if owner in touched:
            torch.testing.assert_close(
                engines.states.hidden[slot].float(), whole(new, user.sequence)[0], atol=HALVES, rtol=0
            )
    for row, (_, sequence) in enumerate(shown):
        check_answer(outcome, row, new, sequence)


@settings(max_examples=15)
@given(logs(), logs(users="abcd"))
def test_users_stored_with_another_hidden_size_go_on_from_their_sequences(
    first: list[Logged], second: list[Logged]
) -> None:
    serving, shelf, oracle = serving_on(CPU), Shelf(), Oracle()
    before = Engines(UserStates(hidden=HIDDEN + 4, length=LENGTH, epoch=1, device=CPU), rules_share=0)
    oracle.take(first)
    before.advance(first)
    before.states.weights_id[:] = serving.weights_id  # a version of the same id: the size alone must tell
    before.states.hidden[:] = 9
    shelf.update(records_of(before, first))
    start = first[-1].offset + 1 if first else 0
    moved = [replace(logged, offset=logged.offset + start) for logged in second]
    for user in oracle.users.values():
        user.sequence = user.sequence[-LENGTH:]
    shown = oracle.take(moved)
    engines = make_engines(serving=serving, stored=shelf)
    outcome = engines.advance(moved)
    for owner in {logged.owner for logged in moved}:
        encoded = whole(serving, oracle.users[owner].sequence)[0]
        torch.testing.assert_close(engines.states.hidden[slot_of(engines, owner)].float(), encoded, atol=HALVES, rtol=0)
    for row, (_, sequence) in enumerate(shown):
        check_answer(outcome, row, serving, sequence)


def test_more_users_than_are_encoded_at_once_are_all_encoded(device: torch.device) -> None:
    engines, oracle = make_engines(device), Oracle()  # the rules serve, so nobody has a hidden state
    users = [f"user {n}" for n in range(600)]
    order = np.random.default_rng(0).choice(users, 1500).tolist() + users
    first = [view(n, user, ITEMS[n % 9]) for n, user in enumerate(order)]
    oracle.take(first)
    engines.advance(first)
    for user in oracle.users.values():
        user.sequence = user.sequence[-LENGTH:]
    serving = serving_on(device)
    engines.state_engine.serve(serving)
    second = [view(len(first) + n, user) for n, user in enumerate(users)]
    oracle.take(second)
    engines.advance(second)
    check_hidden(engines, oracle, serving)


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("batch", [[], [view(0), view(1)]], ids=["empty", "replays only"])
def test_nothing_new_changes_and_answers_nothing(batch: list[Logged], served: bool, device: torch.device) -> None:
    engines = make_engines(device, serving_on(device) if served else None)
    engines.advance([view(0), view(1)])
    before = pack(engines.states.snapshot(np.arange(2)))
    outcome = engines.advance(batch)
    events = outcome.stepped.events
    assert events.indices.shape == events.slots.shape == outcome.stepped.changed_slots.shape == (0,)
    assert outcome.answers.items.shape == (0, RANKED)
    assert events.duplicates == 0
    assert pack(engines.states.snapshot(np.arange(2))) == before


def test_a_repeat_is_answered_from_the_state_as_it_is(device: torch.device) -> None:
    serving = serving_on(device)
    engines, oracle = make_engines(device, serving), Oracle()
    engines.advance([view(0, event_id="x"), view(1, item="item 2")])
    oracle.take([view(0), view(1, item="item 2")])
    user = oracle.users[PARTITION, "a"]
    batch = [view(2, event_id="x", type="purchase"), view(3), view(4, event_id="x"), view(5, user="b")]
    outcome = engines.advance(batch)
    assert outcome.stepped.events.duplicates == 2
    assert outcome.stepped.history_lengths.tolist() == [2, 3, 3, 1]
    check_answer(outcome, 0, serving, user.sequence)
    oracle.take([view(3)])
    for row in (1, 2):
        check_answer(outcome, row, serving, user.sequence)
    assert engines.states.offsets[slot_of(engines, (PARTITION, "a"))] == 4


def test_the_rules_answer_a_repeat_from_the_state_as_it_is() -> None:
    engines = make_engines()
    engines.advance([view(n, type="view") for n in range(8)])
    first = engines.advance([view(8, event_id="x")])
    repeat = engines.advance([view(9, event_id="x", type="purchase")])
    assert repeat.stepped.events.duplicates == 1
    assert repeat.answers.next_type.tolist() == first.answers.next_type.tolist()


def test_the_same_user_on_two_partitions_is_two_users(device: torch.device) -> None:
    engines = make_engines(device, serving_on(device))
    here, there = [view(0), view(1)], [replace(view(n), partition=1) for n in range(2)]
    assert engines.advance([*here, there[0]]).stepped.history_lengths.tolist() == [1, 2, 1]
    assert engines.advance([there[1]]).stepped.history_lengths.tolist() == [2]
    engines.state_engine.clear()
    assert engines.advance([there[1], here[0]]).stepped.history_lengths.tolist() == [1, 1]
    assert engines.state_engine.nbytes > engines.states.nbytes


def test_without_a_model_the_rules_answer() -> None:
    engines = make_engines(rules_share=0)
    outcome = engines.advance([view(0), view(1, item="item 2"), view(2, user="b", item="item 1")])
    assert outcome.answers.version == "baseline"
    assert names_of(outcome, 1) == ["item 2", "item 1"]
    # The answers after the first and the second event of "a": "item 2" was not yet known, and nobody asked "b".
    assert outcome.stepped.rules_ranks.tolist() == [0]
    assert outcome.scores.ranks.tolist() == []


def test_rules_are_scored_only_on_users_whom_they_still_follow() -> None:
    engines = make_engines(rules_share=0.5)  # every other slot, once a model serves
    users = [f"user {n}" for n in range(6)]
    engines.advance([view(n, user) for n, user in enumerate(users)])
    engines.state_engine.serve(serving_on(CPU))
    scored = []
    for turn in (1, 2):
        batch = [view(10 * turn + n, user) for n, user in enumerate(users)]
        scored.append(len(engines.advance(batch).stepped.rules_ranks))
    assert scored == [3, 3]


@pytest.mark.parametrize(("share", "right"), [(0.5, True), (0, False)])
def test_rules_learn_from_everybody_whatever_share_they_answer(share: float, right: bool) -> None:
    """The one whom they do not follow shows what comes after an item; the one whom they follow comes to it."""
    engines = make_engines(serving=serving_on(CPU), rules_share=share)
    engines.advance([view(0, "followed", item="item 60"), view(1, "other", item="item 60")])
    engines.advance([view(2, "other", item="item 61")])
    engines.advance([view(3, "followed", item="item 60")])
    found = engines.advance([view(4, "followed", item="item 61")]).stepped.rules_ranks.tolist()
    assert found == ([] if not share else [1] if right else [0])


def test_rules_learn_from_some_of_the_users_of_a_large_batch_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = list[list[str]]()

    def learn(_: Rules, previous: object, item: int, name: str) -> None:
        learned[-1].append(name)

    engines = make_engines(serving=serving_on(CPU), rules_share=0.5)
    monkeypatch.setattr(Rules, "learn", learn)
    users = [f"user {n}" for n in range(256)]
    for turn in range(4):
        learned.append([])
        engines.advance([view(1000 * turn + n, user, item=f"item {n}") for n, user in enumerate(users)])
    assert sorted(map(len, learned)) == [128, 128, 192, 192]  # every other one is followed, and a fourth in turn
    assert len({name for one in learned for name in one}) == 256


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_states_have_the_size_of_the_network(backbone: BackboneName) -> None:
    network = serving_on(CPU, backbone=backbone).network
    assert network.backbone.state_size == network.config.hidden == HIDDEN


def test_users_of_a_canary_stay_with_the_version_before() -> None:
    before, serving = serving_on(CPU, name="before", seed=1), serving_on(CPU)
    engines, alone = (
        make_engines(serving=serving),
        {name: make_engines(serving=serving_on(CPU)) for name in ("v1", "before")},
    )
    alone["before"].state_engine.serve(before)
    engines.state_engine.serve(serving, Canary(before, 0.3))
    users = [f"user {n}" for n in range(40)]
    batch = [view(n, user) for n, user in enumerate(users * 2)]
    shares = engines.advance_shares(batch)
    assert {share.answers.version for share in shares} == {"v1", "before"}
    assert sorted(index for share in shares for index in share.stepped.events.indices.tolist()) == list(range(80))
    stay = {
        users[index % 40]
        for share in shares
        if share.answers.version == "before"
        for index in share.stepped.events.indices.tolist()
    }
    assert 4 <= len(stay) <= 20
    assert stay == set(np.array(users)[Canary(before, 0.3).stays(users)])
    for share in shares:
        expected = alone[share.answers.version].advance(
            [batch[index] for index in share.stepped.events.indices.tolist()]
        )
        assert share.answers.purchase == pytest.approx(expected.answers.purchase, abs=HALVES)
        assert len(share.scores.ranks) == len(share.stepped.events.indices) / 2


@st.composite
def baskets(draw: st.DrawFn) -> list[list[Logged]]:
    """A log of events with one action or several, one list for each event; without event ids."""
    found, time = [], 1_700_000_000_000
    for offset in range(draw(st.integers(1, 12))):
        time += draw(st.sampled_from([0, 900, 70_000, 1_800_001]))
        user, count = draw(st.sampled_from("ab")), draw(st.sampled_from([1, 1, 2, 5]))
        kinds = draw(st.lists(st.sampled_from(["view", "cart", "purchase", "search"]), min_size=count, max_size=count))
        items = draw(st.lists(st.sampled_from(ITEMS), min_size=count, max_size=count))
        events = [Event(user_id=user, type=kind, item_id=i, query=i) for kind, i in zip(kinds, items, strict=True)]
        found.append([Logged(event, time, offset, line=line) for line, event in enumerate(events)])
    return found


@settings(max_examples=40)
@given(baskets(), st.data(), st.sampled_from(BACKBONES))
def test_an_event_of_several_actions_is_answered_after_its_last_one(
    log: list[list[Logged]], data: st.DataObject, backbone: BackboneName
) -> None:
    """One action per event, each at its event's offset times ten, is the oracle."""
    serving = serving_on(CPU, backbone=backbone)
    singly, together = make_engines(CPU, serving, rules_share=0), make_engines(CPU, serving, rules_share=0)
    expected = []
    for event in log:
        for logged in event:
            one = replace(logged, offset=10 * logged.offset + logged.line, line=0)
            outcome = singly.advance([one])
        expected.append((answer_of(outcome, 0), int(outcome.stepped.history_lengths[0])))
    begin = 0
    while begin < len(log):
        end = data.draw(st.integers(begin + 1, len(log)))
        batch = [logged for event in log[begin:end] for logged in event]
        outcome = together.advance(batch)
        assert outcome.stepped.events.indices.tolist() == [
            index for index in range(len(batch)) if index + 1 == len(batch) or batch[index + 1].line == 0
        ]
        for n in range(end - begin):
            answer, length = expected[begin + n]
            assert outcome.stepped.history_lengths[n] == length
            assert answer_of(outcome, n) == pytest.approx(answer, abs=HALVES)
        assert together.advance(batch).stepped.events.indices.tolist() == []  # a replay
        begin = end


def answer_of(outcome: BatchOutcome, n: int) -> list[float]:
    """Returns what an answer says in numbers, which hardly depend on the batch."""
    answers = outcome.answers
    return [*answers.probabilities[n].tolist(), *answers.next_type[n].tolist(), float(answers.purchase[n])]


def test_the_first_action_of_an_event_scores_the_answer_before_it() -> None:
    engines = make_engines(CPU, serving_on(CPU), rules_share=0)
    engines.advance([view(0)])
    ranked = engines.advance([view(1)]).answers
    best, second = (ranked.names[item] for item in ranked.items[0, :2].tolist())
    basket = [replace(view(2, item=second), line=0), replace(view(2, item=best), line=1)]
    outcome = engines.advance(basket)
    assert outcome.scores.ranks.tolist() == [2]
    assert outcome.stepped.history_lengths.tolist() == [4]


def test_a_repeated_event_is_repeated_with_all_its_actions() -> None:
    engines = make_engines(CPU, serving_on(CPU), rules_share=0)
    basket = [replace(view(0, event_id="e"), line=line) for line in range(3)]
    assert engines.advance(basket).stepped.history_lengths.tolist() == [3]
    again = [replace(view(1, event_id="e"), line=line) for line in range(3)]
    other = [view(2, event_id="f")]
    outcome = engines.advance([*again, *other])
    assert outcome.stepped.history_lengths.tolist() == [3, 4]
    assert outcome.stepped.events.duplicates == 1


def test_sequences_that_were_given_away_or_taken_in_are_encoded_as_they_are_now(device: torch.device) -> None:
    serving = serving_on(device)
    engines = make_engines(device, serving)
    states = engines.states
    engines.advance([view(n, "anonymous", ITEMS[n]) for n in range(3)])
    users = ["anonymous", "known"]
    anonymous, known = (int(slot) for slot in states.slots_of([PARTITION] * 2, users))
    given = give_sequence(states, anonymous, Source(0, 3))
    assert given is not None
    assert take_sequence(states, known, Source(0, 3), given[0])
    engines.advance([view(4, "anonymous", ITEMS[4]), view(5, "known", ITEMS[5])])
    item_keys, contexts, sizes = states.histories.gather(np.array([anonymous, known]))
    assert sizes.tolist() == [1, 4]
    for row, slot in enumerate((anonymous, known)):
        size = sizes[row]
        tokens = serving.vocabulary.tokens(item_keys[row : row + 1, :size], contexts[row : row + 1, :size])
        with torch.inference_mode():
            hidden, _ = serving.network(tokens.to(device))
        torch.testing.assert_close(states.hidden[slot].float(), hidden[0, -1], atol=HALVES, rtol=0)
