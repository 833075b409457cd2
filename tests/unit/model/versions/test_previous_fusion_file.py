"""The fusion of the format before: what it can say ranks alike when it is read back, here and by the version before."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from model.data.contexts import CONTEXT_ROWS
from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.evaluation.ranking import LIST_SIZE
from model.fusion.candidate_features import FEATURES, LATER_FEATURES
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion, FusionRanking
from model.fusion.live_items import LiveItems
from model.statistics.log_statistics import counter_of
from model.statistics.rows import NOBODY, NeighbourRows
from model.versions import version
from model.versions.manifest import FORMAT_BEFORE, FUSION, MANIFEST
from model.versions.previous_fusion_file import decode_previous_fusion, previous_fusion_tensors
from tests.older import older_code, run_older
from tests.unit.builders.basics import drawn_combiner, make_version
from tests.unit.builders.candidates import CATALOGUE, WIDTH, asked_after, random_log, vectors_of
from tests.unit.builders.versions import change_weights

SMALL = CATALOGUE[:70]
LONGEST = {"followers": 128, "predecessors": 128, "popular_alike": 24}
NUMBERS = [-1, 0, 1, 2, 15, 69, 70, 127, 128, 511, 512, 1023, 1024, 2**31 - 1, -(2**31)]
LATER = [FEATURES.index(name) for name in LATER_FEATURES]
Tensors = dict[str, Tensor]


def fusion_of(seed: int, *, lately: bool = False) -> Fusion:
    """A log's statistics; only with `lately` those for which the format before has no place."""
    table = counter_of(random_log(seed)).table
    if not lately:
        for rows in (table.arrays.items.recent, table.arrays.sources.followers):
            _clear(rows)
    return Fusion(table, drawn_combiner(seed).without(LATER))


def _clear(rows: NeighbourRows) -> None:
    rows.items[:], rows.weights[:], rows.totals[:] = NOBODY, 0, 0


@cache
def small() -> Fusion:
    return fusion_of(2)


def fresh() -> Tensors:
    return {key: tensor.clone() for key, tensor in previous_fusion_tensors(small(), Vocabulary(SMALL)).items()}


def refusal(tensors: Tensors, items: int = len(SMALL)) -> str | None:
    try:
        decode_previous_fusion("v", save(tensors), Vocabulary(CATALOGUE[:items]))
    except VersionRefused as refused:
        return refused.reason
    return None


def ranked(fusion: Fusion, vocabulary: Vocabulary, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best items after every third action of another log, and their log-probabilities."""
    log = random_log(seed + 100)
    attributes = np.zeros((CONTEXT_ROWS, WIDTH), np.float32)
    live = LiveItems(vocabulary, vectors_of(vocabulary, seed), attributes, fusion.statistics, nameless=True)
    assert live.later == 0
    asked = asked_after(log, vocabulary, range(0, len(log), 3), seed=seed)
    return FusionRanking(live, fusion.combiner).rank(*asked, LIST_SIZE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_read_back_ranks_as_what_was_written(seed: int) -> None:
    vocabulary, fusion = Vocabulary(CATALOGUE), fusion_of(seed)
    found = decode_previous_fusion("v", save(previous_fusion_tensors(fusion, vocabulary)), vocabulary)
    items, log_probabilities = ranked(fusion, vocabulary, seed)
    again, log_probabilities_again = ranked(found, vocabulary, seed)
    np.testing.assert_allclose(log_probabilities_again, log_probabilities, atol=1e-3)
    np.testing.assert_array_equal(again, items)
    assert not found.live
    assert fusion.live


def test_what_the_format_cannot_say_changes_little() -> None:
    vocabulary, fusion = Vocabulary(CATALOGUE), fusion_of(4, lately=True)
    found = decode_previous_fusion("v", save(previous_fusion_tensors(fusion, vocabulary)), vocabulary)
    items, again = ranked(fusion, vocabulary, 4)[0], ranked(found, vocabulary, 4)[0]
    assert float((items[:, 0] == again[:, 0]).mean()) > 0.95


def test_a_combiner_that_is_read_looks_at_nothing_that_came_later() -> None:
    found = decode_previous_fusion("v", save(fresh()), Vocabulary(SMALL)).combiner
    for name, tensor in small().combiner.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name
    assert not found.first.weight[:, LATER].any()
    assert not found.linear.weight[:, LATER].any()
    assert not found.training


READ_VERSION: Final = """
import json, sys
from model.versions.version import load
version = load(sys.argv[1])
statistics = version.fusion.statistics
print(json.dumps([version.name, len(version.vocabulary), statistics.popularity.tolist(), statistics.trend.tolist()]))
"""


def test_a_version_of_the_format_before_is_read_here_and_by_the_version_before(tmp_path: Path) -> None:
    made = replace(make_version(tuple(SMALL)), fusion=fusion_of(5))
    version.save(str(tmp_path / "v1"), made, number=FORMAT_BEFORE)
    assert json.loads((tmp_path / "v1" / MANIFEST).read_bytes())["format"] == FORMAT_BEFORE
    read = version.load(str(tmp_path / "v1"))
    assert not read.fusion.live
    wanted = previous_fusion_tensors(made.fusion, made.vocabulary)
    printed = json.loads(run_older(older_code(tmp_path), READ_VERSION, str(tmp_path / "v1")))
    assert printed == ["v1", len(SMALL), wanted["popularity"].tolist(), wanted["trend"].tolist()]
    assert wanted["popularity"].std() > 0


def test_a_version_is_refused_with_its_fusion(tmp_path: Path) -> None:
    version.save(str(tmp_path / "v"), replace(make_version(tuple(SMALL)), fusion=small()), number=FORMAT_BEFORE)
    change_weights(tmp_path / "v", lambda tensors: tensors["followers.items"].fill_(len(SMALL)), FUSION)
    with pytest.raises(VersionRefused, match=r"followers\.items"):
        version.load(str(tmp_path / "v"))


def trustworthy(tensors: Tensors) -> bool:
    """What the loops rely on, in plain Python."""
    arrays = {key: tensor.flatten().tolist() for key, tensor in tensors.items()}
    if not all(math.isfinite(number) for array in arrays.values() for number in array):
        return False
    for name, longest in LONGEST.items():
        starts, entries = arrays[f"{name}.starts"], arrays[f"{name}.items"]
        if not all(0 <= after - before <= longest for before, after in pairwise(starts)):
            return False
        if (starts[0], starts[-1]) != (0, len(entries)) or not set(entries) <= set(range(len(SMALL))):
            return False
        if not all(0 <= share <= 1 for share in arrays[f"{name}.shares"]):
            return False
    ranges = {"popular": len(SMALL), "categories": 1024, "brands": 512}
    return all(set(arrays[key]) <= set(range(size)) for key, size in ranges.items())


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
def test_rows_that_are_too_long_are_refused(name: str) -> None:
    tensors, count = fresh(), LONGEST[name] + 1
    tensors[f"{name}.items"], tensors[f"{name}.shares"] = torch.zeros(count, dtype=torch.int32), torch.zeros(count)
    tensors[f"{name}.starts"][1:] = count
    assert refusal(tensors) == "shape"
    tensors[f"{name}.starts"][1] = 1
    assert refusal(tensors) is None


WRONG: list[Callable[[Tensors], object]] = [
    lambda tensors: tensors.pop("popularity"),
    lambda tensors: tensors.pop("followers.items"),
    lambda tensors: tensors.update({"more": torch.zeros(1)}),
    lambda tensors: tensors.update({"trend": torch.zeros(len(SMALL), dtype=torch.float64)}),
    lambda tensors: tensors.update({"popular": tensors["popular"][:-1].clone()}),
    lambda tensors: tensors.update({"brands": tensors["brands"].int()}),
    lambda tensors: tensors.update({"followers.shares": tensors["followers.shares"][:-1].clone()}),
    lambda tensors: tensors.update({"popular_alike.starts": tensors["popular_alike.starts"][:-1].clone()}),
    lambda tensors: tensors.update({"combiner.first.weight": Combiner().first.weight.detach().clone()}),
    lambda tensors: tensors["followers.starts"].copy_(tensors["followers.starts"].flip(0)),
]


@pytest.mark.parametrize("change", WRONG)
def test_arrays_of_another_shape_kind_or_name_are_refused(change: Callable[[Tensors], object]) -> None:
    tensors = fresh()
    change(tensors)
    assert refusal(tensors) == "shape"


@pytest.mark.parametrize("items", [0, len(SMALL) - 1, len(SMALL) + 1])
def test_a_fusion_of_another_catalogue_is_refused(items: int) -> None:
    assert refusal(fresh(), items) == "shape"


@pytest.mark.parametrize("key", ["popularity", "followers.shares", "combiner.outside"])
def test_numbers_that_are_not_finite_are_refused(key: str) -> None:
    tensors = fresh()
    tensors[key][0] = float("nan")
    assert refusal(tensors) == "not_finite"


@pytest.mark.parametrize("items", [(), ("a",)], ids=["no items", "one item"])
def test_a_small_catalogue_comes_back(items: tuple[str, ...]) -> None:
    vocabulary = Vocabulary(items)
    found = decode_previous_fusion("v", save(previous_fusion_tensors(small(), vocabulary)), vocabulary)
    assert found.statistics.names == list(items)
