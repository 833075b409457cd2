"""The right answers of a batch, step by step, from the sequences themselves."""

from __future__ import annotations

import torch

from model.data.batches import batches
from model.data.events import Event, actions_of
from model.data.sequences import sequences_of
from model.data.targets import targets_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from tests.unit.builders.basics import CPU
from tests.unit.builders.sequences import sequences


def test_what_comes_next_and_whether_it_is_known() -> None:
    (batch,) = batches(sequences("ab?ca", "xa"), tokens=1000)
    targets = targets_of(batch, Vocabulary(["a", "b"]), CPU)
    users = {int(length): row for row, length in enumerate(targets.counted.sum(1).tolist())}
    long, short = users[5], users[2]

    assert targets.has_next[long].tolist() == [True, True, True, True, False]
    assert targets.next_on_item[long].tolist() == [True, False, True, True, False]  # the second is followed by a search
    assert targets.next_known[long].tolist() == [True, False, False, True, False]  # the third by an unknown item
    assert targets.next_rows[long][targets.next_known[long]].tolist() == [ITEM_BUCKETS + 1, ITEM_BUCKETS]
    assert targets.has_next[short].tolist() == [True, False, False, False, False]  # padded at the right
    assert not targets.purchase_soon.any()


def test_what_is_taken_out_of_a_basket_is_foretold_as_a_type_and_not_as_an_item() -> None:
    kinds = ("view", "cart", "remove", "purchase")
    (batch,) = batches(sequences_of(actions_of([Event("u", kind, "a") for kind in kinds], range(4))), tokens=99)
    targets = targets_of(batch, Vocabulary(["a"]), CPU)
    assert targets.has_next.tolist() == targets.next_on_item.tolist() == [[True, True, True, False]]
    assert targets.next_known.tolist() == [[True, False, True, False]]


def test_selected_chunks_keep_their_targets() -> None:
    (batch,) = batches(sequences("ab", "cd", "ef"), tokens=1000)
    targets = targets_of(batch, Vocabulary(list("abcdef")), CPU)
    some = targets[torch.tensor([2, 0])]
    assert some.next_rows.tolist() == targets.next_rows[[2, 0]].tolist()
    assert some.counted.shape == (2, 2)
