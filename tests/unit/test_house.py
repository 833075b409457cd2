"""The house rules of CONTRIBUTING.md that a linter does not check: sizes, parameters, tests that mirror the rooms."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT

MODULES = sorted(
    path for package in ("model", "stream_app") for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"
)
SMALL = 40  # lines: so short a module may be tested with what uses it


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a caller sees."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")])


def test_folders_are_small() -> None:
    folders = Counter(path.parent for path in MODULES)
    assert {name_of(folder): count for folder, count in folders.items() if count > 20} == {}
    assert all(folders[ROOT / package] <= 8 for package in ("model", "stream_app"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_parameter_lists_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {function.name: parameters(function) for function in functions if parameters(function) > 7} == {}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_test_of_its_name(path: Path) -> None:
    if len(path.read_text(encoding="utf-8").splitlines()) > SMALL:
        assert (ROOT / "tests" / "unit" / path.parent.relative_to(ROOT) / f"test_{path.name}").exists()


def test_a_type_is_a_noun() -> None:
    """Not a bare participle or adjective, which leaves the reader to guess what it is."""
    adjectives = {
        "Found",
        "Foreseen",
        "Given",
        "Held",
        "Kept",
        "Known",
        "Made",
        "Recent",
        "Rough",
        "Sent",
        "Told",
        "Waiting",
    }
    names = {node.name.strip("_") for path in MODULES for node in tree_of(path).body if isinstance(node, ast.ClassDef)}
    assert {name for name in names if re.fullmatch(r"[A-Z][a-z]*ed", name) or name in adjectives} == set()


def test_no_test_module_imports_another() -> None:
    imports = {
        name_of(path): node.module
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and re.search(r"(^|\.)test_", node.module or "")
    }
    assert {path: module for path, module in imports.items() if path.startswith("tests/unit")} == {}
