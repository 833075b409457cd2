"""The guard of skipped tests: a run fails by a skip that it does not know, and by no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.skips import ALLOWED, NO_GPU, not_installed

MODULE = f"""
import pytest

def test_passes():
    pass

def test_needs_a_gpu():
    pytest.skip({NO_GPU!r})

@pytest.mark.xfail(strict=True)
def test_is_known_to_fail():
    raise AssertionError
"""
LAZY = """
import pytest

@pytest.mark.skipif(True, reason="does not work today")
def test_of_a_bad_day():
    pass

@pytest.mark.parametrize("case", [])
def test_without_cases(case):
    pass
"""
LACKS_PACKAGE = f"""
import pytest

pytest.importorskip("no_such_package", reason={not_installed("no_such_package")!r})

def test_of_the_package():
    pass
"""


def run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest with the guard and without plugins, which take seconds to import, on the modules in `folder`."""
    (folder / "conftest.py").write_text("from tests.skips import *\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *options, str(folder)],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("parallel", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "with workers"])
def test_allowed_skips_and_expected_failures_pass(tmp_path: Path, parallel: tuple[str, ...]) -> None:
    (tmp_path / "test_sound.py").write_text(MODULE)
    done = run(tmp_path, "--strict-skips", *parallel)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped, 1 xfailed" in done.stdout


@pytest.mark.parametrize("parallel", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "with workers"])
def test_any_other_skip_fails_and_is_named(tmp_path: Path, parallel: tuple[str, ...]) -> None:
    (tmp_path / "test_lazy.py").write_text(LAZY)
    done = run(tmp_path, "--strict-skips", *parallel)
    assert done.returncode == 1
    assert "test_lazy.py::test_of_a_bad_day was skipped: 'does not work today'" in done.stdout
    assert "got empty parameter set" in done.stdout
    assert all(reason in done.stdout for reason in ALLOWED)


def test_a_module_that_lacks_a_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_package.py").write_text(LACKS_PACKAGE)
    done = run(tmp_path, "--strict-skips")
    assert done.returncode == 2
    assert "test_package.py was skipped: 'no_such_package is not installed'" in done.stdout


def test_ci_is_strict_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "test_lazy.py").write_text(LAZY)
    assert run(tmp_path, CI="true").returncode == 1
    relaxed = run(tmp_path)
    assert relaxed.returncode == 0
    assert "2 skipped" in relaxed.stdout
