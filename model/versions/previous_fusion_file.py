"""The fusion of the format before: what versions of it say is read, and written for workers that know no other.

Its statistics are those of a log, by catalogue index, and its combiner lacks the features that came with live ones.
Shapes: I items of the catalogue, E entries of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.events import BRAND_BUCKETS, CATEGORY_BUCKETS
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES, LATER_FEATURES, LEVEL_SCALE
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors
from model.statistics.rows import NOBODY, NeighbourRows
from model.statistics.statistics_table import POPULAR, POPULAR_ALIKE, StatisticsTable, Widths
from model.versions.fusion_file import COMBINER, check_range, check_rows, combiner_from, combiner_tensors
from model.versions.manifest import FUSION

_NEIGHBOURS: Final = 128  # neighbours of an item, at most
_KNOWN: Final = [column for column, name in enumerate(FEATURES) if name not in LATER_FEATURES]
_OF_FEATURES: Final = ("first.weight", "linear.weight")  # of a combiner: a column for each feature
_BEFORE_ALL: Final = -1e9  # a clock of which no level is below


def decode_previous_fusion(path: str, content: bytes, vocabulary: Vocabulary) -> Fusion:
    """Decodes a file's bytes into the fusion of a catalogue; statistics like these do not learn.

    Raises `VersionRefused`: format; shape, also for numbers that lead out of an array; not_finite.
    """
    tensors = decode_tensors(path, FUSION, content)
    check_previous_fusion(path, tensors, len(vocabulary))
    arrays = {key: tensor.numpy() for key, tensor in tensors.items() if not key.startswith(COMBINER)}
    table = StatisticsTable(widths=Widths(_NEIGHBOURS, _NEIGHBOURS, 1, 1))
    rows = table.add(vocabulary.item_keys, vocabulary.items)
    items = table.arrays.items
    _fill(items.followers, rows, arrays, "followers")
    _fill(items.predecessors, rows, arrays, "predecessors")
    items.categories[rows], items.brands[rows] = arrays["categories"], arrays["brands"]
    highest = -_BEFORE_ALL  # so that sums of levels are finite
    popularity, trend = (
        np.clip(arrays[name].astype(np.float64) / LEVEL_SCALE, -highest, highest) for name in ("popularity", "trend")
    )
    items.levels[rows] = np.stack((popularity, popularity + trend), axis=1)
    table.arrays.sums[:] = max(1, len(vocabulary))  # so that the mean level is 0
    table.arrays.clocks[:] = _BEFORE_ALL
    table.least_late = _BEFORE_ALL
    popular = table.arrays.popular
    popular.everywhere[: len(arrays["popular"])] = rows[arrays["popular"]]
    starts = arrays["popular_alike.starts"]
    for category in np.flatnonzero(np.diff(starts)).tolist():
        alike = rows[arrays["popular_alike.items"][starts[category] : starts[category + 1]]]
        popular.alike[category, : len(alike)] = alike
    return Fusion(table, combiner_from(_widened(tensors)), live=False)


def previous_fusion_tensors(fusion: Fusion, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Returns the arrays of a fusion as the format before has them; its combiner must not look at later features."""
    table = fusion.statistics.of_items(vocabulary.item_keys, vocabulary.items)
    arrays = table.arrays
    size = len(vocabulary)
    mean, late = np.log2(np.maximum(arrays.sums, 1e-30) / max(1, size)) + arrays.sum_bases
    levels = arrays.items.levels.astype(np.float64)
    popularity = np.maximum(levels[:, 0], arrays.clocks[0] - 1) - max(mean, arrays.clocks[0] - 1)
    trend = np.maximum(levels[:, 1] - late, np.log2(0.2)) - popularity
    popular = arrays.popular.everywhere
    found = popular[popular != NOBODY]
    rest = np.setdiff1d(np.arange(size, dtype=np.int32), found)[: max(0, min(POPULAR, size) - len(found))]
    there = arrays.popular.alike != NOBODY
    tensors: dict[str, NDArray[np.generic]] = {
        "popular": np.concatenate((found, rest)).astype(np.int32),
        "popular_alike.starts": np.concatenate((np.zeros(1, np.int64), np.cumsum(there.sum(1, dtype=np.int64)))),
        "popular_alike.items": arrays.popular.alike[there],
        "popular_alike.shares": np.ones(int(there.sum()), np.float32),
        "categories": arrays.items.categories.astype(np.int64),
        "brands": arrays.items.brands.astype(np.int64),
        "popularity": (popularity * LEVEL_SCALE).astype(np.float32),
        "trend": (trend * LEVEL_SCALE).astype(np.float32),
    }
    tensors |= _shares("followers", arrays.items.followers) | _shares("predecessors", arrays.items.predecessors)
    found_tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in tensors.items()}
    return found_tensors | _narrowed(combiner_tensors(fusion.combiner))


def _widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a combiner's tensors with zeros for the features that came later."""
    widened = dict(tensors)
    for name in _OF_FEATURES:
        before = tensors[COMBINER + name]
        widened[COMBINER + name] = torch.zeros(len(before), len(FEATURES)).index_copy(1, torch.tensor(_KNOWN), before)
    return widened


def _narrowed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: tensor[:, _KNOWN].contiguous() if key.removeprefix(COMBINER) in _OF_FEATURES else tensor
        for key, tensor in tensors.items()
    }


def _shares(name: str, rows: NeighbourRows) -> dict[str, NDArray[np.generic]]:
    there = rows.items != NOBODY
    shares = np.minimum(rows.weights / np.maximum(rows.totals, 1e-30)[:, None], 1)
    return {
        f"{name}.starts": np.concatenate((np.zeros(1, np.int64), np.cumsum(there.sum(1, dtype=np.int64)))),
        f"{name}.items": rows.items[there],
        f"{name}.shares": shares[there].astype(np.float32),
    }


def _fill(target: NeighbourRows, rows: NDArray[np.int64], arrays: Mapping[str, NDArray[np.generic]], name: str) -> None:
    starts, items = arrays[f"{name}.starts"].astype(np.int64), arrays[f"{name}.items"].astype(np.int64)
    sizes = np.diff(starts)
    owners, columns = np.repeat(rows, sizes), np.arange(len(items)) - np.repeat(starts[:-1], sizes)
    target.items[owners, columns] = rows[items]
    target.weights[owners, columns] = arrays[f"{name}.shares"]
    target.totals[rows] = 1


def check_previous_fusion(path: str, tensors: Mapping[str, Tensor], items: int) -> None:
    """Raises `VersionRefused` for whatever would lead the compiled loops out of an array."""
    check_shapes(path, tensors, _expected(tensors, items))
    check_finite(path, tensors)
    for name, longest in (
        ("followers", _NEIGHBOURS), ("predecessors", _NEIGHBOURS), ("popular_alike", POPULAR_ALIKE)
    ):  # fmt: skip
        check_rows(path, tensors[f"{name}.starts"], len(tensors[f"{name}.items"]), name, longest)
        check_range(path, tensors[f"{name}.items"], f"{name}.items", items - 1)
        check_range(path, tensors[f"{name}.shares"], f"{name}.shares", 1)
    check_range(path, tensors["popular"], "popular", items - 1)
    check_range(path, tensors["categories"], "categories", CATEGORY_BUCKETS - 1)
    check_range(path, tensors["brands"], "brands", BRAND_BUCKETS - 1)


def _expected(tensors: Mapping[str, Tensor], items: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = {
            "popular": torch.empty(min(POPULAR, items), dtype=torch.int32),
            "categories": torch.empty(items, dtype=torch.int64),
            "brands": torch.empty(items, dtype=torch.int64),
            "popularity": torch.empty(items),
            "trend": torch.empty(items),
            **_narrowed(combiner_tensors(Combiner())),
        }
        for name, count in (("followers", items), ("predecessors", items), ("popular_alike", CATEGORY_BUCKETS)):
            entries = tensors[f"{name}.items"].numel() if f"{name}.items" in tensors else 0
            expected[f"{name}.starts"] = torch.empty(count + 1, dtype=torch.int64)
            expected[f"{name}.items"] = torch.empty(entries, dtype=torch.int32)
            expected[f"{name}.shares"] = torch.empty(entries)
    return expected
