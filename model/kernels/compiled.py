"""Compiles the loops that are too slow in Python and in tensor operations, and keeps the machine code on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numba import config, njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)
from numpy.typing import NDArray

FAST: Final = ("contract", "reassoc")  # one instruction may multiply and add, and sums may be taken in any order

Floats = NDArray[np.float32]  # what most loops work on

logger: Final = logging.getLogger(__name__)


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


class NamedFolder(UserProvidedCacheLocator):  # type: ignore[misc]
    """The folder that `NUMBA_CACHE_DIR` names, which need not be writable: an image's may be filled and read-only.

    Leans on, in numba 0.68: locators are asked in their order for one that suits a function, numba's own only take a
    folder in which they can write a file, and the folder's name is read when numba is imported.
    """

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> NamedFolder | None:
        """Returns the folder for a function; None: no folder is named, or the function is in no file."""
        return cls(py_func, py_file) if config.CACHE_DIR and Path(py_file).exists() else None


class _CacheParts(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: ClassVar = [NamedFolder, *CompileResultCacheImpl._locator_classes]


class DiskCache(FunctionCache):  # type: ignore[misc]
    """What was compiled of one function. Where it cannot be kept, the function works all the same."""

    _impl_class = _CacheParts
    misses: ClassVar = 0  # loops that this process had to compile, each for one signature

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises RuntimeError where there is no folder."""
        super().__init__(function)
        stamps = [_stamp(root) for root in sorted({_root(Path(__file__)), _root(Path(function.__code__.co_filename))})]
        self._cache_file = SafeCacheFile(self.cache_path, self._impl.filename_base, stamps)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Returns what was compiled for a signature on this processor; None: nothing that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            _say_once(error.strerror)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps what was compiled for a signature, where the folder can be written and has room."""
        DiskCache.misses += 1
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_once(error.strerror)


def compiled(function: Callable[..., Any], *, counting: bool = True) -> Any:
    """Makes a function that is compiled at its first call for each signature, and runs without the interpreter's lock.

    The machine code stays on disk, if there is a folder, until a source file of the function's package or of ours
    changes. Sums are as `FAST` says.

    Leans on, in numba 0.68: a dispatcher loads and saves by its `_cache`.
    """
    dispatcher = njit(nogil=True, fastmath=set(FAST), _nrt=counting)(function)
    try:
        dispatcher._cache = DiskCache(function)
    except RuntimeError:  # there is no folder: it is compiled anew in every process
        _say_once("cannot be written")
    return dispatcher


@cache
def _say_once(problem: str) -> None:
    where = config.CACHE_DIR or "the folder for it"
    logger.warning("what is compiled now is not kept for the next start: %s: %s", where, problem)


def uncounted(function: Callable[..., Any]) -> Any:
    """Makes a compiled function that counts no references to arrays: it makes and returns none, slices may come and go.

    Numba counts references wherever an array is sliced, taken from a tuple or handed on, each time by an atomic
    instruction. In a loop with short steps that takes several times as long as the steps.

    Leans on, in numba 0.68: the option `_nrt`, which is not public; without it nothing that takes memory compiles, like
    `np.empty` or filling one array with another by a slice.
    """
    return compiled(function, counting=False)


def _root(source: Path) -> Path:
    """Returns the outermost package that a source file belongs to, or its folder when it belongs to none."""
    folder = source.parent
    while (folder / "__init__.py").exists() and (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder


@cache
def _stamp(root: Path) -> str:
    """Returns a digest of all source files below a root, by name and content.

    Compiled code holds the functions that it calls, and the constants and the fields of tuples that it reads, whatever
    files these come from. Times of files do not count: an image's layers have them in whole seconds, or changed.
    """
    digest = sha256()
    for path in sorted(root.rglob("*.py") if (root / "__init__.py").exists() else root.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
