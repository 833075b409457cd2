"""Loops that Python and tensor operations are too slow for, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from numba import njit
from numba.core.caching import IndexDataCacheFile

_WORDS: Final = (b"@compiled", b"llvmlite")  # in the files that compiled code comes from


class SafeCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """What was compiled of a function, on disk, for several processes at once.

    Numba numbers the data files and names one in the index before it is written: two processes that compile for other
    types at the same time take the same number, and the next one calls code that reads its arrays wrongly; and for a
    moment after a change of the source the index leads to the code before it. Here a file has the name of what it
    holds and is there before the index says so.

    Leans on, in numba 0.68: a dispatcher's cache has one such file, and saves by its `save` only.
    """

    def save(self, key: Any, data: Any) -> None:
        """Adds what was compiled under a key."""
        content = sha256(repr((self._version, self._source_stamp, key)).encode()).digest()
        name = self._data_name(int.from_bytes(content[:8], "little"))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles at the first call; what was compiled is kept on disk where there is a place that can be written, until
    a file with compiled functions changes: a function holds the code of all that it calls.

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
    """Names, times and sizes of the files below a root that have compiled functions or make instructions for them: they
    change when the compiled code does."""
    files = [path for path in sorted(root.rglob("*.py")) if any(word in path.read_bytes() for word in _WORDS)]
    return tuple((str(path.relative_to(root)), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
