"""Machine code on disk: it is never run for other types or after a change, however processes overlap."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.errors import NumbaError

from model.kernels.compiled import Floats, SafeCacheFile, uncounted
from model.search import shortlist
from model.serving import answers
from stream_app.contract import prediction_json
from tests.paths import ROOT

STAMPS = [(1.5, 99), (2.5, 99)]  # of the source, before and after a change


def cache_file(folder: Path, stamp: Any = STAMPS[0]) -> SafeCacheFile:
    folder.mkdir(exist_ok=True)
    return SafeCacheFile(str(folder), "function", stamp)


def test_what_was_saved_comes_back_until_the_source_changes(tmp_path: Path) -> None:
    for key in ("int", "float"):
        cache_file(tmp_path).save(key, f"code for {key}")
    assert [cache_file(tmp_path).load(key) for key in ("int", "float", "bool")] == [
        "code for int",
        "code for float",
        None,
    ]
    assert cache_file(tmp_path, STAMPS[1]).load("int") is None


def test_processes_that_know_nothing_of_each_other_write_different_files(tmp_path: Path) -> None:
    saved = [(stamp, key) for stamp in STAMPS for key in ("int", "float")]
    for number, (stamp, key) in enumerate(saved):
        cache_file(tmp_path / str(number), stamp).save(key, "code")
    assert len({path.name for path in tmp_path.rglob("*.nbc")}) == len(saved)


def test_the_index_names_only_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache_file(tmp_path)
    write = file._save_index
    indexed: list[str] = []

    def checked(index: dict[str, str]) -> None:
        indexed.extend(file._load_data(name) for name in index.values())
        write(index)

    monkeypatch.setattr(file, "_save_index", checked)
    file.save("int", "code")
    assert indexed == ["code"]


@pytest.mark.parametrize("module", [answers, prediction_json, shortlist])
def test_compiled_functions_are_saved_by_our_cache_file(module: Any) -> None:
    functions = [value for value in vars(module).values() if hasattr(value, "py_func")]
    assert functions
    for function in functions:
        assert isinstance(function._cache._cache_file, SafeCacheFile)


def test_another_process_finds_what_one_has_compiled(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "", "double", "x + x")
    call = "import loops; print(loops.double(1.5), sum(loops.double.stats.cache_hits.values()))"
    assert [printed(tmp_path, call) for _ in range(2)] == ["3.0 0", "3.0 1"]


def test_what_calls_a_function_of_another_file_goes_with_it(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "from others import more", "double", "more(x)")
    found = []
    for number in ("2", "30"):
        write(tmp_path / "others.py", "", "more", f"{number} * x")
        found.append(printed(tmp_path, "import loops; print(loops.double(1.5))"))
    assert found == ["3.0", "45.0"]


def test_what_calls_a_function_of_another_room_goes_with_it(tmp_path: Path) -> None:
    for room in ("house", "house/upstairs", "house/upstairs/closet", "house/cellar"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    write(tmp_path / "house/upstairs/loops.py", "from house.cellar.others import more", "double", "more(x)")
    write(tmp_path / "house/cellar/others.py", "from house.upstairs.closet.deep import most", "more", "most(x)")
    found = []
    for number in ("2", "30"):
        write(tmp_path / "house/upstairs/closet/deep.py", "", "most", f"{number} * x")
        found.append(printed(tmp_path, "import house.upstairs.loops as loops; print(loops.double(1.5))"))
    assert found == ["3.0", "45.0"]


def test_constants_and_tuples_of_other_files_go_with_it(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "from others import FACTOR, Pair", "double", "FACTOR * x.first")
    found = []
    for factor, fields in ((2, "first second"), (30, "first second"), (30, "second first")):
        (tmp_path / "others.py").write_text(
            f"from collections import namedtuple\nFACTOR = {factor}\nPair = namedtuple('Pair', '{fields}')\n"
        )
        found.append(printed(tmp_path, "import loops; print(loops.double(loops.Pair(1.5, 7.0)))"))
    assert found == ["3.0", "45.0", "210.0"]


def test_a_renamed_tuple_is_compiled_for_anew(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "", "double", "x.first + x.first")
    for name in ("Pair", "Couple"):
        (tmp_path / "others.py").write_text(
            f"from collections import namedtuple\n{name} = namedtuple('{name}', 'first')\n"
        )
        call = f"import loops, others; print(loops.double(others.{name}(1.5)))"
        assert printed(tmp_path, call) == "3.0"


def test_what_is_made_of_an_instruction_goes_with_it(tmp_path: Path) -> None:
    instruction = """
from llvmlite import ir
from numba.extending import intrinsic

@intrinsic
def more(_, x):
    return x(x), lambda _, builder, __, arguments: builder.fmul(arguments[0], ir.DoubleType()({number}))
"""
    write(tmp_path / "loops.py", "from instructions import more", "double", "more(x)")
    found = []
    for number in ("2", "30"):
        (tmp_path / "instructions.py").write_text(instruction.format(number=number))
        found.append(printed(tmp_path, "import loops; print(loops.double(1.5))"))
    assert found == ["3.0", "45.0"]


def test_times_of_sources_do_not_count(tmp_path: Path) -> None:
    """The layers of an image have them in whole seconds, or set to one date."""
    write(tmp_path / "loops.py", "", "double", "x + x")
    assert printed(tmp_path, CALL) == "3.0 0 1"
    os.utime(tmp_path / "loops.py", (1, 1))
    assert printed(tmp_path, CALL) == "3.0 1 0"


def test_a_folder_that_is_named_is_read_where_it_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "", "double", "x + x")
    folder = tmp_path / "named"
    assert printed(tmp_path, CALL, folder) == "3.0 0 1"
    folder.chmod(0o555)
    script = f"import tempfile; tempfile.TemporaryFile = None; {CALL}"  # numba's own way to see if it can be written
    assert printed(tmp_path, script, folder) == "3.0 1 0"


def test_a_function_works_without_a_folder_and_says_so_once(tmp_path: Path) -> None:
    write(tmp_path / "loops.py", "", "double", "x + x")
    (tmp_path / "file").touch()
    call = "import loops; print(loops.double(1.5), loops.double(2))"
    done = process(tmp_path, call, tmp_path / "file" / "named")
    assert done.stdout == "3.0 4\n"
    assert done.stderr.count("not kept for the next start") == 1


CALL = (
    "import loops; from model.kernels.compiled import DiskCache; "
    "print(loops.double(1.5), sum(loops.double.stats.cache_hits.values()), DiskCache.misses)"
)


@uncounted
def total_of_halves(pairs: tuple[Floats, Floats]) -> float:
    total = 0.0
    for array in pairs:
        for number in array[: len(array) // 2]:
            total += number
    return total


@uncounted
def takes_memory(size: int) -> int:
    return len(np.empty(size))


def test_a_function_without_counting_reads_arrays_and_leaves_them_to_their_owners() -> None:
    pairs = np.arange(4, dtype=np.float32), np.ones(6, np.float32)
    before = [sys.getrefcount(array) for array in pairs]
    assert [total_of_halves(pairs) for _ in range(100)] == [4.0] * 100
    assert [sys.getrefcount(array) for array in pairs] == before


def test_a_function_without_counting_takes_no_memory() -> None:
    """Nobody would give it back."""
    with pytest.raises(NumbaError, match="takes_memory"):
        takes_memory(3)


def write(path: Path, imports: str, name: str, result: str) -> None:
    """A module with a compiled function of x."""
    head = f"from model.kernels.compiled import compiled\n{imports}\n\n"
    path.write_text(f"{head}\n@compiled\ndef {name}(x):\n    return {result}\n")


def printed(folder: Path, call: str, named: Path | None = None) -> str:
    """What another process prints."""
    return process(folder, call, named).stdout.strip()


def process(folder: Path, call: str, named: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Another process, with a folder named for what it compiles, or not."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # Python takes a file of the same size and second for the same file
    del environment["NUMBA_CACHE_DIR"]
    if named is not None:
        environment["NUMBA_CACHE_DIR"] = str(named)
    return subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=True)
