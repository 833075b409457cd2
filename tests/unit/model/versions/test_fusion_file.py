"""The fusion of a version: it comes back, and the compiled loop gets nothing that leads out of an array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.fusion.item_statistics import item_statistics_from, tensors_of
from model.versions import version
from model.versions.fusion_file import decode_fusion, fusion_tensors
from model.versions.manifest import FUSION
from tests.unit.builders.basics import ITEMS, make_fusion, make_version
from tests.unit.builders.versions import change_weights, save_version
from tests.versions import fusion_without_a_log

SIZE = len(ITEMS)
LONGEST = {"followers": 128, "predecessors": 128, "popular_alike": 24}
NUMBERS = [-1, 0, 1, 2, 23, 24, 69, 70, 127, 128, 511, 512, 1023, 1024, 2**31 - 1, -(2**31)]
Tensors = dict[str, Tensor]


@cache
def small() -> Fusion:
    return Fusion(make_fusion(Vocabulary(ITEMS)).statistics, Combiner())


def fresh() -> Tensors:
    return {key: tensor.clone() for key, tensor in fusion_tensors(small()).items()}


def refusal(tensors: Tensors, items: int = SIZE) -> str | None:
    try:
        decode_fusion("v", save(tensors), items)
    except VersionRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("items", [ITEMS, ()], ids=["items", "no items"])
@pytest.mark.parametrize("make", [make_fusion, fusion_without_a_log])
def test_what_is_saved_comes_back(make: Callable[[Vocabulary], Fusion], items: tuple[str, ...]) -> None:
    fusion = make(Vocabulary(items))
    found = decode_fusion("v", save(fusion_tensors(fusion)), len(items))
    before, after = tensors_of(fusion.statistics), tensors_of(found.statistics)
    assert before.keys() == after.keys()
    for key, array in before.items():
        assert array.dtype == after[key].dtype
        assert array.tolist() == after[key].tolist()
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
        if not all(0 <= share <= 1 for share in arrays[f"{name}.shares"]):
            return False
    ranges = {"popular": SIZE, "categories": 1024, "brands": 512}
    return all(set(arrays[key]) <= set(range(size)) for key, size in ranges.items())


@given(st.sampled_from(sorted(fresh())), st.data())
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
    tensors["followers.items"] = torch.zeros(129, dtype=torch.int32)
    tensors["followers.shares"] = torch.zeros(129)
    tensors["followers.starts"][1:] = 129
    assert refusal(tensors) == "shape"
    tensors["followers.starts"][1] = 1
    assert refusal(tensors) is None


WRONG: list[Callable[[Tensors], object]] = [
    lambda tensors: tensors.pop("trend"),
    lambda tensors: tensors.pop("followers.items"),
    lambda tensors: tensors.pop("combiner.outside"),
    lambda tensors: tensors.update({"more": torch.zeros(1)}),
    lambda tensors: tensors.update({"trend": torch.zeros(SIZE, dtype=torch.float64)}),
    lambda tensors: tensors.update({"popularity": torch.zeros(SIZE - 1)}),
    lambda tensors: tensors.update({"popular": tensors["popular"][:-1].clone()}),
    lambda tensors: tensors.update({"popular": tensors["popular"].long()}),
    lambda tensors: tensors.update({"categories": torch.zeros(SIZE, 1, dtype=torch.int64)}),
    lambda tensors: tensors.update({"followers.shares": tensors["followers.shares"][:-1].clone()}),
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
    arrays = tensors_of(made.fusion.statistics)
    arrays["popular"] = np.full_like(arrays["popular"], SIZE)
    damaged = Fusion(item_statistics_from(arrays), made.fusion.combiner)
    with pytest.raises(VersionRefused, match="popular"):
        version.save(str(tmp_path / "v"), replace(made, fusion=damaged))
    assert not (tmp_path / "v").exists()
