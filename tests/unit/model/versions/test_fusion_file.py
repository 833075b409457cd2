"""The fusion of a version: it comes back, and the compiled loop gets nothing that leads out of an array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from model.data.events import Event, actions_of
from model.data.sequences import sequences_of
from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.statistics.log_statistics import counter_of
from model.versions import version
from model.versions.fusion_file import decode_fusion, fusion_tensors
from model.versions.manifest import FUSION
from tests.unit.builders.basics import ITEMS, make_fusion, make_version
from tests.unit.builders.versions import change_weights, save_version
from tests.versions import fusion_without_a_log

SIZE = len(ITEMS)
LONGEST = {"followers": 64, "predecessors": 32, "recent": 16, "sources": 16}
NUMBERS = [-1, 0, 1, 2, 15, 16, 63, 64, 69, 70, 511, 512, 1023, 1024, 2**31 - 1, -(2**31)]
Tensors = dict[str, Tensor]


@cache
def small() -> Fusion:
    events = [
        Event(user_id=str(n % 3), type=kind, item_id=item, query="red shoes", category=f"category {n % 4}", brand="b")
        for n, (item, kind) in enumerate(zip(ITEMS, cycle(("view", "cart", "search", "view")), strict=False))
    ]
    return Fusion(counter_of(sequences_of(actions_of(events, range(0, 1000 * len(ITEMS), 1000)))).table, Combiner())


def fresh() -> Tensors:
    return {key: tensor.clone() for key, tensor in fusion_tensors(small(), Vocabulary(ITEMS)).items()}


def refusal(tensors: Tensors, items: int = SIZE) -> str | None:
    try:
        decode_fusion("v", save(tensors), Vocabulary([*ITEMS, "more"][:items]))
    except VersionRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("items", [ITEMS, ()], ids=["items", "no items"])
@pytest.mark.parametrize("make", [make_fusion, fusion_without_a_log])
def test_what_is_saved_comes_back(make: Callable[[Vocabulary], Fusion], items: tuple[str, ...]) -> None:
    fusion = make(Vocabulary(items))
    vocabulary = Vocabulary(items)
    found = decode_fusion("v", save(fusion_tensors(fusion, vocabulary)), vocabulary)
    before, after = fusion_tensors(fusion, vocabulary), fusion_tensors(found, vocabulary)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]), key
    table, again = fusion.statistics, found.statistics
    assert again.names == list(items)
    rows, of_table, of_again = table.rows_of(vocabulary.item_keys), table.arrays.items, again.arrays.items
    assert np.array_equal(of_again.categories[: len(items)], of_table.categories[rows])
    counted = of_table.counts[rows] > 0  # a count of late may be too small for a number by now
    np.testing.assert_allclose(of_again.levels[: len(items)][counted], of_table.levels[rows][counted], rtol=1e-5)
    for key, tensor in fusion.combiner.state_dict().items():
        assert torch.equal(tensor, found.combiner.state_dict()[key])
    assert not found.combiner.training


def trustworthy(tensors: Tensors) -> bool:
    """What the loop relies on, in plain Python."""
    arrays = {key: tensor.flatten().tolist() for key, tensor in tensors.items()}
    if not all(math.isfinite(number) for array in arrays.values() for number in array):
        return False
    for name, longest in LONGEST.items():
        starts, entries = arrays[f"{name}.starts"], arrays[f"{name}.items"]
        if not all(0 <= after - before <= longest for before, after in pairwise(starts)):
            return False
        if (starts[0], starts[-1]) != (0, len(entries)) or not set(entries) <= set(range(SIZE)):
            return False
        if min([*arrays[f"{name}.weights"], *arrays[f"{name}.totals"]], default=0) < 0:
            return False
    if any(min(arrays[key], default=0) < 0 for key in ("counts", "sums", "times", "sources.times")):
        return False
    ranges = {"categories": 1024, "brands": 512}
    return arrays["decay"][1] > 0 and all(set(arrays[key]) <= set(range(size)) for key, size in ranges.items())


@given(st.deferred(lambda: st.sampled_from(sorted(fresh()))), st.data())
def test_a_changed_number_is_refused_exactly_where_it_could_do_harm(key: str, data: st.DataObject) -> None:
    tensors = fresh()
    position = data.draw(st.integers(0, tensors[key].numel() - 1))
    numbers = st.floats(width=32) if tensors[key].is_floating_point() else st.sampled_from(NUMBERS)
    tensors[key].view(-1)[position] = data.draw(numbers)
    assert (refusal(tensors) is None) == trustworthy(tensors)


@given(st.sampled_from(sorted(LONGEST)), st.lists(st.integers(-3, 140), min_size=1, max_size=3), st.data())
def test_rows_that_run_over_are_refused(name: str, numbers: list[int], data: st.DataObject) -> None:
    tensors = fresh()
    starts = tensors[f"{name}.starts"]
    position = data.draw(st.integers(0, len(starts) - len(numbers)))
    starts[position : position + len(numbers)] = torch.tensor(numbers)
    assert (refusal(tensors) is None) == trustworthy(tensors)


@pytest.mark.parametrize("name", LONGEST)
@pytest.mark.parametrize("more", [-1, 1])
def test_rows_that_end_elsewhere_than_the_entries_are_refused(name: str, more: int) -> None:
    tensors = fresh()
    tensors[f"{name}.starts"][-1] += more
    assert not trustworthy(tensors)
    assert refusal(tensors) == "shape"


def test_rows_that_are_too_long_are_refused() -> None:
    tensors = fresh()
    tensors["followers.items"] = torch.zeros(65, dtype=torch.int32)
    tensors["followers.weights"] = torch.zeros(65)
    tensors["followers.starts"][1:] = 65
    assert refusal(tensors) == "shape"
    tensors["followers.starts"][1] = 1
    assert refusal(tensors) is None


WRONG: list[Callable[[Tensors], object]] = [
    lambda tensors: tensors.pop("times"),
    lambda tensors: tensors.pop("followers.items"),
    lambda tensors: tensors.pop("combiner.outside"),
    lambda tensors: tensors.update({"more": torch.zeros(1)}),
    lambda tensors: tensors.update({"counts": torch.zeros(SIZE, 2, dtype=torch.float64)}),
    lambda tensors: tensors.update({"counts": torch.zeros(SIZE - 1, 2)}),
    lambda tensors: tensors.update({"sums": tensors["sums"][:-1].clone()}),
    lambda tensors: tensors.update({"brands": tensors["brands"].long()}),
    lambda tensors: tensors.update({"categories": torch.zeros(SIZE, 1, dtype=torch.int32)}),
    lambda tensors: tensors.update({"followers.weights": tensors["followers.weights"][:-1].clone()}),
    lambda tensors: tensors.update({"followers.starts": tensors["followers.starts"][:-1].clone()}),
    lambda tensors: tensors.update({"followers.items": tensors["followers.items"][None].clone()}),
    lambda tensors: tensors.update({"predecessors.items": tensors["predecessors.items"][:-1].clone()}),
    lambda tensors: tensors.update({"combiner.last.weight": torch.zeros(1, 31)}),
    lambda tensors: tensors["followers.starts"].copy_(tensors["followers.starts"].flip(0)),
]


@pytest.mark.parametrize("change", WRONG)
def test_arrays_of_another_shape_kind_or_name_are_refused(change: Callable[[Tensors], object]) -> None:
    tensors = fresh()
    change(tensors)
    assert refusal(tensors) == "shape"


@pytest.mark.parametrize("items", [0, SIZE - 1, SIZE + 1])
def test_a_fusion_of_another_catalogue_is_refused(items: int) -> None:
    assert refusal(fresh(), items) == "shape"


def test_numbers_that_are_not_finite_are_refused() -> None:
    tensors = fresh()
    tensors["combiner.outside"].fill_(float("nan"))
    assert refusal(tensors) == "not_finite"


def test_a_version_is_refused_with_its_fusion(tmp_path: Path) -> None:
    save_version(tmp_path / "v")
    change_weights(tmp_path / "v", lambda tensors: tensors["followers.items"].fill_(SIZE), FUSION)
    with pytest.raises(VersionRefused, match=r"followers\.items"):
        version.load(str(tmp_path / "v"))


def test_no_version_is_saved_that_no_worker_would_take(tmp_path: Path) -> None:
    made = make_version()
    table = counter_of(sequences_of(actions_of([Event("u", "view", ITEMS[0])], [0]))).table
    table.arrays.items.counts[0, 0] = -1
    damaged = Fusion(table, made.fusion.combiner)
    with pytest.raises(VersionRefused, match="counts"):
        version.save(str(tmp_path / "v"), replace(made, fusion=damaged))
    assert not (tmp_path / "v").exists()
