"""Compiles the loops that are too slow in Python and in tensor operations, and keeps the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numba.core.caching import IndexDataCacheFile
from numpy.typing import NDArray

FAST: Final = ("contract", "reassoc")  # one instruction may multiply and add, and sums may be taken in any order

Floats = NDArray[np.float32]  # what most loops work on


class SafeCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """The machine code of one function on disk, for several processes at once.

    Numba numbers the data files, and names one in the index before it is written: two processes that compile for other
    types at the same time take the same number, and the next process runs code that reads its arrays wrongly. For a
    moment after a change of the source, too, the index leads to the code of before. Here a file is named after what it
    holds, and is written before the index names it.

    Leans on, in numba 0.68: a dispatcher's cache has one such file, saves by its `save` only, and reads the index by
    `_load_index`, which unpickles the types of arguments before it looks at the stamp.
    """

    def save(self, key: Any, data: Any) -> None:
        """Adds the machine code that was compiled for a key: a signature on a processor."""
        content = sha256(repr((self._version, self._source_stamp, key)).encode()).digest()
        name = self._data_name(int.from_bytes(content[:8], "little"))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})

    def _load_index(self) -> dict[Any, str]:
        """Returns an empty index where the one on disk names classes that are no longer there."""
        try:
            index: dict[Any, str] = super()._load_index()
        except (AttributeError, ImportError):
            return {}
        return index


def compiled(function: Callable[..., Any]) -> Any:
    """Makes a function that is compiled at its first call for each signature, and runs without the interpreter's lock.

    The machine code stays on disk, if a folder can be written, until a source file of the function's package or of ours
    changes. Sums are as `FAST` says.
    """
    options = {"nogil": True, "fastmath": set(FAST)}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder that can be written
        return njit(**options)(function)
    disk_cache = dispatcher._cache
    stamps = [_stamp(root) for root in sorted({_root(Path(__file__)), _root(Path(function.__code__.co_filename))})]
    disk_cache._cache_file = SafeCacheFile(disk_cache.cache_path, disk_cache._impl.filename_base, stamps)
    return dispatcher


def _root(source: Path) -> Path:
    """Returns the outermost package that a source file belongs to, or its folder when it belongs to none."""
    folder = source.parent
    while (folder / "__init__.py").exists() and (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder


@cache
def _stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Returns the names, times and sizes of all source files below a root.

    Compiled code holds the functions that it calls, and the constants and the fields of tuples that it reads, whatever
    files these come from.
    """
    files = sorted(root.rglob("*.py") if (root / "__init__.py").exists() else root.glob("*.py"))
    return tuple((str(path.relative_to(root)), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
