"""The category and the brand of an item are those that the log gives last."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.data.contexts import CATEGORY_SHIFT
from model.data.events import Event, actions_of
from model.data.sequences import sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.network import NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.item_attributes import learn_item_attributes
from tests.unit.builders.logs import ROOMY, in_parts
from tests.unit.builders.rounds import circle


def test_an_item_has_the_category_and_the_brand_that_were_given_last() -> None:
    events = [
        Event(user_id="u", type="view", item_id="a", category="old", brand="b"),
        Event(user_id="u", type="view", item_id="a", category="new"),
        Event(user_id="u", type="search", query="red"),
        Event(user_id="u", type="view", item_id="unknown", category="other"),
        Event(user_id="u", type="view", item_id="c", category="new", brand="b"),
    ]
    vocabulary = Vocabulary(["a", "c", "never"])
    network = cold_start(NetworkConfig(items=3, width=8, hidden=8), 0).eval()
    plain = network.item_vectors().clone()
    learn_item_attributes(network, vocabulary, sequences_of(actions_of(events, [1, 2, 3, 4, 5])))
    assert not network.item_attributes[:ITEM_BUCKETS].any()
    first, second, third = network.item_attributes[ITEM_BUCKETS:]
    assert torch.equal(first, second)
    assert (first > 0).all()
    assert not third.any()
    attributes = network.contexts.weight[network.item_attributes[ITEM_BUCKETS:]].sum(1)
    expected = network.items.weight[ITEM_BUCKETS:] + attributes
    torch.testing.assert_close(network.item_vectors(), torch.nn.functional.normalize(expected, dim=-1))
    assert torch.equal(network.item_vectors()[2], plain[2])
    assert not torch.allclose(network.item_vectors()[0], plain[0])
    learn_item_attributes(
        network, vocabulary, sequences_of(actions_of([Event(user_id="u", type="view", item_id="a", brand="z")], [9]))
    )
    assert network.item_attributes[ITEM_BUCKETS, 0] == first[0]
    assert network.item_attributes[ITEM_BUCKETS, 1] != second[1]


def test_they_are_those_given_last_in_any_part_of_a_log(tmp_path: Path) -> None:
    whole = sequences_of(circle())
    categories = (np.arange(len(whole)) % 7 + 1).astype(np.uint32)  # come and go
    contexts = whole.contexts | categories << np.uint32(CATEGORY_SHIFT)
    whole = replace(whole, contexts=contexts)
    vocabulary = Vocabulary([f"i{n}" for n in range(8)])
    one, other = (cold_start(NetworkConfig(items=8, width=8, hidden=8), 0) for _ in range(2))
    learn_item_attributes(one, vocabulary, whole)
    with ExitStack() as files:
        learn_item_attributes(other, vocabulary, in_parts(whole, 6, ROOMY, tmp_path, files))
    assert one.item_attributes.any()
    assert torch.equal(one.item_attributes, other.item_attributes)
