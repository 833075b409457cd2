"""Item statistics and combiner as tensors of a file, and every check that the compiled loop over them relies on.

That loop checks no bounds: a number that led out of an array would end the worker, or be served.
Shapes: I items of the catalogue, E entries of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.data.events import BRAND_BUCKETS, CATEGORY_BUCKETS
from model.errors import VersionRefused
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.fusion.item_statistics import MOST_NEIGHBOURS, POPULAR, POPULAR_ALIKE, item_statistics_from, tensors_of
from model.network.tensor_checks import check_finite, check_shapes, decode_tensors
from model.versions.manifest import FUSION

_COMBINER: Final = "combiner."
_LONGEST: Final = {  # entries of a row
    "followers": MOST_NEIGHBOURS,
    "predecessors": MOST_NEIGHBOURS,
    "popular_alike": POPULAR_ALIKE,
}


def fusion_tensors(fusion: Fusion) -> dict[str, Tensor]:
    """Returns all arrays of a fusion by name."""
    statistics = tensors_of(fusion.statistics)
    tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in statistics.items()}
    return tensors | _combiner_tensors(fusion.combiner)


def decode_fusion(path: str, content: bytes, items: int) -> Fusion:
    """Decodes a file's bytes into the fusion of a catalogue of so many items.

    Raises `VersionRefused`: format; shape, also for numbers that lead out of an array; not_finite.
    """
    tensors = decode_tensors(path, FUSION, content)
    check_fusion(path, tensors, items)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    with torch.device("meta"):  # nothing is drawn at random: the tensors of the file become its parameters
        combiner = Combiner()
    combiner.load_state_dict({key: tensors.pop(_COMBINER + key) for key in combiner.state_dict()}, assign=True)
    return Fusion(item_statistics_from({key: tensor.numpy() for key, tensor in tensors.items()}), combiner.eval())


def check_fusion(path: str, tensors: Mapping[str, Tensor], items: int) -> None:
    """Raises `VersionRefused` for whatever would lead the compiled loop out of an array."""
    rows = {"followers": items, "predecessors": items, "popular_alike": CATEGORY_BUCKETS}
    check_shapes(path, tensors, _expected(tensors, rows, items))
    check_finite(path, tensors)
    for name, longest in _LONGEST.items():
        _check_rows(path, tensors, name, longest)
        _check_range(path, tensors, f"{name}.items", items - 1)
        _check_range(path, tensors, f"{name}.shares", 1)
    _check_range(path, tensors, "popular", items - 1)
    _check_range(path, tensors, "categories", CATEGORY_BUCKETS - 1)
    _check_range(path, tensors, "brands", BRAND_BUCKETS - 1)


def _expected(tensors: Mapping[str, Tensor], rows: Mapping[str, int], items: int) -> dict[str, Tensor]:
    """Returns what a file must hold, as tensors without memory; the number of entries is the file's own."""
    with torch.device("meta"):
        expected = {
            "popular": torch.empty(min(POPULAR, items), dtype=torch.int32),
            "categories": torch.empty(items, dtype=torch.int64),
            "brands": torch.empty(items, dtype=torch.int64),
            "popularity": torch.empty(items),
            "trend": torch.empty(items),
            **_combiner_tensors(Combiner()),
        }
        for name, count in rows.items():
            entries = tensors[f"{name}.items"].numel() if f"{name}.items" in tensors else 0
            expected[f"{name}.starts"] = torch.empty(count + 1, dtype=torch.int64)
            expected[f"{name}.items"] = torch.empty(entries, dtype=torch.int32)
            expected[f"{name}.shares"] = torch.empty(entries)
    return expected


def _combiner_tensors(combiner: Combiner) -> dict[str, Tensor]:
    return {_COMBINER + key: value.detach().contiguous() for key, value in combiner.state_dict().items()}


def _check_rows(path: str, tensors: Mapping[str, Tensor], name: str, longest: int) -> None:
    """Checks that rows follow each other without a gap, from the first entry to the last, each short enough."""
    starts, entries = tensors[f"{name}.starts"], len(tensors[f"{name}.items"])
    lengths = starts.diff()
    if starts[0] != 0 or starts[-1] != entries or bool(((lengths < 0) | (lengths > longest)).any()):
        raise VersionRefused(
            "shape", f"{path}: {name}.starts do not make rows of at most {longest} of {entries} entries"
        )


def _check_range(path: str, tensors: Mapping[str, Tensor], key: str, highest: int) -> None:
    tensor = tensors[key]
    if len(tensor) and not (tensor.min() >= 0 and tensor.max() <= highest):
        raise VersionRefused("shape", f"{path}: {key} has numbers outside 0 to {highest}")
