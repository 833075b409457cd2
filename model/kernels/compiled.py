"""Loops that Python and tensor operations are too slow for, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import IndexDataCacheFile


class SafeCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """What was compiled of a function, on disk, for several processes at once.

    Numba numbers the data files and names one in the index before it is written: two processes that compile for other
    types at the same time take the same number, and the next one calls code that reads its arrays wrongly; and for a
    moment after a change of the source the index leads to the code before it. Here a file has the name of what it
    holds and is there before the index says so.

    Leans on, in numba 0.68: a dispatcher's cache has one such file, saves by its `save` only, and reads the index by
    `_load_index`, which unpickles the types of arguments before it looks at the stamp.
    """

    def save(self, key: Any, data: Any) -> None:
        """Adds what was compiled under a key."""
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
    """Compiles at the first call; what was compiled is kept on disk where there is a place that can be written, until
    a source file of its package or of this one changes.

    Runs without the interpreter's lock. Sums may be taken in any order.
    """
    options = {"nogil": True, "fastmath": {"contract", "reassoc"}}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # no such place
        return njit(**options)(function)
    kept = dispatcher._cache
    roots = {_root(Path(__file__)), _root(Path(function.__code__.co_filename))}
    kept._cache_file = SafeCacheFile(kept.cache_path, kept._impl.filename_base, [*map(_stamp, sorted(roots))])
    return dispatcher


def _root(source: Path) -> Path:
    """The outermost package that a source file belongs to, or its folder when it belongs to none."""
    folder = source.parent
    while (folder / "__init__.py").exists() and (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder


@cache
def _stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of all source files below a root. Compiled code holds the functions that it calls and the
    constants and fields of tuples that it reads, whatever files these come from."""
    files = sorted(root.rglob("*.py") if (root / "__init__.py").exists() else root.glob("*.py"))
    return tuple((str(path.relative_to(root)), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
