"""Examples are what a worker knows: plain counts, vectors of whole sequences, targets by looking through the log."""

from __future__ import annotations

import numpy as np
import torch

from model.data.contexts import unpack_contexts
from model.data.events import PURCHASE, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.profile_fit.preference_examples import (
    field_examples,
    next_purchases,
    preference_examples,
    targets_at,
)
from tests.faults.liked import Liked, differs
from tests.unit.builders.basics import CPU, version


def log_of(users: str = "abc", actions: int = 60) -> Sequences:
    randomness = np.random.default_rng(3)
    events = [
        Event(
            users[randomness.integers(len(users))],
            ["view", "purchase", "cart", "search"][randomness.integers(4)],
            f"item {randomness.integers(9)}",
            "q",
            category=[None, "c1", "c2", "c3"][randomness.integers(4)],
            brand=[None, "b1", "b2"][randomness.integers(3)],
            price=[None, 1.0, 30.0, 900.0][randomness.integers(4)],
        )
        for _ in range(actions)
    ]
    return sequences_of(actions_of(events, [1000 * n for n in range(actions)]))


def test_counts_and_vectors_are_those_before_the_action() -> None:
    log = log_of()
    positions = log.targets_from()
    examples = preference_examples(version().network, version().vocabulary, log, positions, CPU)
    fields, users = unpack_contexts(log.contexts), log.users_at(positions)
    for n, (position, user) in enumerate(zip(positions.tolist(), users.tolist(), strict=True)):
        liked, start = Liked(), int(log.offsets[user])
        for before in range(start, position):
            liked.count_keys(int(fields.types[before]), (int(fields.categories[before]), int(fields.brands[before])))
        pairs = zip(examples.counts.keys[n], examples.counts.weights[n], strict=True)
        found = [[(int(key), row.tolist()) for key, row in zip(*pair, strict=True) if key] for pair in pairs]
        assert differs(found, liked) is None
        tokens = version().vocabulary.tokens(
            log.item_keys[None, start:position], log.contexts[None, start:position], log.queries
        )
        with torch.inference_mode():
            _, vectors = version().network(tokens)
        np.testing.assert_allclose(examples.vectors[n], vectors[0, -1].numpy(), atol=1e-5)
        given = [int(price) for price in fields.prices[start:position] if price]
        assert examples.last_bands[n] == (1 + (given[-1] - 1) // 3 if given else 0)


def test_the_next_purchase_is_the_first_of_the_user_from_there_on() -> None:
    log = log_of()
    positions, types = log.targets_from(), log.types
    users = log.users_at(positions)
    for within in (None, 4_000):
        found = next_purchases(log, positions, within)
        for position, user, place in zip(positions.tolist(), users.tolist(), found.tolist(), strict=True):
            later = [at for at in range(position, int(log.offsets[user + 1])) if types[at] == PURCHASE]
            wanted = later[0] if later else -1
            if wanted >= 0 and within is not None and log.times[wanted] - log.times[position - 1] > within:
                wanted = -1
            assert place == wanted


def test_a_field_has_the_examples_whose_target_is_known() -> None:
    log = log_of()
    positions = log.targets_from()
    examples = preference_examples(version().network, version().vocabulary, log, positions, CPU)
    targets = targets_at(log, positions)
    for number in range(3):
        field = field_examples(examples, targets, number)
        assert field.targets.tolist() == targets[targets[:, number] > 0, number].tolist()
        assert len(field.keys) == len(field.weights) == len(field.vectors) == len(field.last) == len(field.levels)
        assert field.by_rank == (number < 2)
