"""Statistics and combiner as tensors of a file, and every check that the compiled loops over them rely on.

Those loops check no bounds: a number that led out of an array would end the worker, or be served.
Shapes: I items of the catalogue, S sources, E entries of all rows.
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
from model.errors import VersionRefused
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors
from model.statistics.decay import Decay
from model.statistics.rows import NOBODY, NeighbourRows
from model.statistics.statistics_table import StatisticsTable, Widths
from model.versions.manifest import FUSION

COMBINER: Final = "combiner."
_WIDTHS: Final = Widths()  # the longest rows that a file may have
_ITEM_ROWS: Final = {
    "followers": _WIDTHS.followers, "predecessors": _WIDTHS.predecessors, "recent": _WIDTHS.recent
}  # fmt: skip


def fusion_tensors(fusion: Fusion, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Returns all arrays of a fusion by name: of its statistics the rows of the vocabulary's items."""
    table = fusion.statistics.of_items(vocabulary.item_keys, vocabulary.items)
    arrays, sources = table.arrays, table.source_size
    items, decay = arrays.items, table.decay or Decay(0)
    tensors: dict[str, NDArray[np.generic]] = {
        "times": items.times,
        "bases": items.bases,
        "counts": items.counts,
        "categories": items.categories.astype(np.int32),
        "brands": items.brands.astype(np.int32),
        "sources.keys": arrays.sources.keys[:sources].view(np.int64),
        "sources.times": arrays.sources.times[:sources],
        "sources.bases": arrays.sources.bases[:sources],
        "sums": arrays.sums,
        "sum_bases": arrays.sum_bases,
        "clocks": arrays.clocks,
        "decay": np.array([decay.start, decay.floor], np.int64),
    }
    for name in _ITEM_ROWS:
        tensors |= _flat(name, getattr(items, name), len(vocabulary))
    tensors |= _flat("sources", arrays.sources.followers, sources)
    found = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in tensors.items()}
    return found | combiner_tensors(fusion.combiner)


def decode_fusion(path: str, content: bytes, vocabulary: Vocabulary) -> Fusion:
    """Decodes a file's bytes into the fusion of a catalogue.

    Raises `VersionRefused`: format; shape, also for numbers that lead out of an array; not_finite.
    """
    tensors = decode_tensors(path, FUSION, content)
    check_fusion(path, tensors, len(vocabulary))
    combiner = combiner_from(tensors)
    arrays = {key: tensor.numpy() for key, tensor in tensors.items() if not key.startswith(COMBINER)}
    sources = arrays["sources.keys"].view(np.uint64)
    table = StatisticsTable(widths=_WIDTHS)
    table.add(vocabulary.item_keys, vocabulary.items)
    table.add_sources(sources)
    rows, source_rows = table.rows_of(vocabulary.item_keys), table.source_index.find(sources)
    items, of_sources = table.arrays.items, table.arrays.sources
    for name in ("times", "bases", "counts", "categories", "brands"):
        getattr(items, name)[rows] = arrays[name]
    for name in ("times", "bases"):
        getattr(of_sources, name)[source_rows] = arrays[f"sources.{name}"]
    for name in _ITEM_ROWS:
        _fill_rows(getattr(items, name), rows, arrays, name, rows)
    _fill_rows(of_sources.followers, source_rows, arrays, "sources", rows)
    for name in ("sums", "sum_bases", "clocks"):
        getattr(table.arrays, name)[:] = arrays[name]
    table.decay = Decay(int(arrays["decay"][0]), int(arrays["decay"][1]))
    table.renew_levels()
    return Fusion(table, combiner)


def combiner_from(tensors: Mapping[str, Tensor]) -> Combiner:
    """Makes a combiner whose parameters are the tensors of a file."""
    with torch.device("meta"):  # nothing is drawn at random
        combiner = Combiner()
    combiner.load_state_dict({key: tensors[COMBINER + key].clone() for key in combiner.state_dict()}, assign=True)
    return combiner.eval()


def combiner_tensors(combiner: Combiner) -> dict[str, Tensor]:
    """Returns the tensors of a combiner by their names in a file."""
    return {COMBINER + key: value.detach().contiguous() for key, value in combiner.state_dict().items()}


def check_fusion(path: str, tensors: Mapping[str, Tensor], items: int) -> None:
    """Raises `VersionRefused` for whatever would lead the compiled loops out of an array."""
    check_shapes(path, tensors, _expected(tensors, items))
    check_finite(path, tensors)
    for name, longest in (*_ITEM_ROWS.items(), ("sources", _WIDTHS.source)):
        check_rows(path, tensors[f"{name}.starts"], len(tensors[f"{name}.items"]), name, longest)
        check_range(path, tensors[f"{name}.items"], f"{name}.items", items - 1)
        _check_not_negative(path, tensors, f"{name}.weights", f"{name}.totals")
    check_range(path, tensors["categories"], "categories", CATEGORY_BUCKETS - 1)
    check_range(path, tensors["brands"], "brands", BRAND_BUCKETS - 1)
    _check_not_negative(path, tensors, "counts", "sums", "times", "sources.times")
    if int(tensors["decay"][1]) <= 0:
        raise VersionRefused("shape", f"{path}: decay has a floor of {int(tensors['decay'][1])} ms, it must be above 0")


def check_rows(path: str, starts: Tensor, entries: int, name: str, longest: int) -> None:
    """Checks that rows follow each other without a gap, from the first entry to the last, each short enough."""
    lengths = starts.diff()
    if starts[0] != 0 or starts[-1] != entries or bool(((lengths < 0) | (lengths > longest)).any()):
        raise VersionRefused(
            "shape", f"{path}: {name}.starts do not make rows of at most {longest} of {entries} entries"
        )


def check_range(path: str, tensor: Tensor, key: str, highest: int) -> None:
    """Checks that all numbers are from 0 to `highest`."""
    if len(tensor) and not (tensor.min() >= 0 and tensor.max() <= highest):
        raise VersionRefused("shape", f"{path}: {key} has numbers outside 0 to {highest}")


def _check_not_negative(path: str, tensors: Mapping[str, Tensor], *keys: str) -> None:
    for key in keys:
        if tensors[key].numel() and tensors[key].min() < 0:
            raise VersionRefused("shape", f"{path}: {key} has numbers below 0")


def _expected(tensors: Mapping[str, Tensor], items: int) -> dict[str, Tensor]:
    """Returns what a file must hold, as tensors without memory; the numbers of sources and entries are its own."""
    sources = tensors["sources.keys"].numel() if "sources.keys" in tensors else 0
    with torch.device("meta"):
        expected = {
            "times": torch.empty(items, dtype=torch.int64),
            "bases": torch.empty(items, 2, dtype=torch.float64),
            "counts": torch.empty(items, 2),
            "categories": torch.empty(items, dtype=torch.int32),
            "brands": torch.empty(items, dtype=torch.int32),
            "sources.keys": torch.empty(sources, dtype=torch.int64),
            "sources.times": torch.empty(sources, dtype=torch.int64),
            "sources.bases": torch.empty(sources, dtype=torch.float64),
            **{name: torch.empty(2, dtype=torch.float64) for name in ("sums", "sum_bases", "clocks")},
            "decay": torch.empty(2, dtype=torch.int64),
            **combiner_tensors(Combiner()),
        }
        for name, count in (*((name, items) for name in _ITEM_ROWS), ("sources", sources)):
            entries = tensors[f"{name}.items"].numel() if f"{name}.items" in tensors else 0
            expected[f"{name}.starts"] = torch.empty(count + 1, dtype=torch.int64)
            expected[f"{name}.items"] = torch.empty(entries, dtype=torch.int32)
            expected[f"{name}.weights"] = torch.empty(entries)
            expected[f"{name}.totals"] = torch.empty(count)
    return expected


def _flat(name: str, rows: NeighbourRows, count: int) -> dict[str, NDArray[np.generic]]:
    """Returns the first `count` rows without the places that are empty."""
    there = rows.items[:count] != NOBODY
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(there.sum(1, dtype=np.int64))))
    return {
        f"{name}.starts": starts,
        f"{name}.items": rows.items[:count][there],
        f"{name}.weights": rows.weights[:count][there],
        f"{name}.totals": rows.totals[:count],
    }


def _fill_rows(
    target: NeighbourRows,
    rows: NDArray[np.int64],
    arrays: Mapping[str, NDArray[np.generic]],
    name: str,
    item_rows: NDArray[np.int64],
) -> None:
    """Fills the rows of a table; `item_rows` (I,) are those of the catalogue's items."""
    starts, items = arrays[f"{name}.starts"].astype(np.int64), arrays[f"{name}.items"].astype(np.int64)
    sizes = np.diff(starts)
    owners = np.repeat(rows, sizes)
    columns = np.arange(len(items)) - np.repeat(starts[:-1], sizes)
    target.items[owners, columns] = item_rows[items]
    target.weights[owners, columns] = arrays[f"{name}.weights"]
    target.totals[rows] = arrays[f"{name}.totals"]
