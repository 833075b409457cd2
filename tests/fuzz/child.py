"""One fuzzer of one target: `python -m tests.fuzz.child TARGET`, then the arguments of libFuzzer.

It is a process of its own, as what it watches is instrumented while it is imported, and libFuzzer ends the process.
Watched is what the target names; what numba compiles is opaque to it, and is imported as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import atheris

from tests.fuzz.targets import WATCHED, load


def main() -> None:
    """Entry point."""
    name, arguments = sys.argv[1], sys.argv[2:]
    watched = WATCHED.get(name, ())
    packages = sorted({module.partition(".")[0] for module in watched})
    with atheris.instrument_imports(include=packages, exclude=[*_others(packages, watched)]):
        target = load(name)
    _compute_checksums_fast()
    with suppress(Exception):  # the first call compiles loops, which takes longer than an input may
        target.check(target.seeds()[-1])
    atheris.Setup([sys.argv[0], *arguments], target.check)
    atheris.Fuzz()


def _others(packages: Iterable[str], watched: Iterable[str]) -> Iterator[str]:
    """Yields the modules of packages that are not watched."""
    for package in packages:
        found = find_spec(package)
        assert found is not None
        assert found.submodule_search_locations is not None
        root = Path(found.submodule_search_locations[0])
        for path in root.rglob("*.py"):
            parts = path.relative_to(root.parent).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if module not in watched:
                yield module


def _compute_checksums_fast() -> None:
    """Gives modules the compiled checksum back, which takes most of the time in Python, and has nothing to see."""
    from aiokafka.record._crecords import crc32c_cython
    from aiokafka.record.util import calc_crc32c_py

    for module in list(sys.modules.values()):
        if vars(module).get("calc_crc32c") is calc_crc32c_py:
            vars(module)["calc_crc32c"] = crc32c_cython


if __name__ == "__main__":
    main()
