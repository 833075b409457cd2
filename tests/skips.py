"""The reasons for which a test may be skipped, and the guard that holds every skip to them.

A test that is skipped proves nothing, so a run with `--strict-skips` (or with `CI` in the environment) fails when a
test is skipped for a reason that is not in `ALLOWED`. What `.ci/run` installs is not in it: a test that lacks a
package there fails, too.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import pytest

NO_GPU: Final = "no CUDA device"
NO_INSTRUCTION: Final = "this processor lacks the instruction"
NO_SHARED_DATA: Final = "no development data in ../shared"
NO_GIT_HISTORY: Final = "no git history with the version before"
ALLOWED: Final = frozenset({NO_GPU, NO_INSTRUCTION, NO_SHARED_DATA, NO_GIT_HISTORY})

_OPTION: Final = "--strict-skips"
_PREFIX: Final = "Skipped: "  # what pytest writes before the reason


def not_installed(what: str) -> str:
    """The reason of a test that needs something which `.ci/run` installs, and others may do without."""
    return f"{what} is not installed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option; `CI` in the environment is the same as giving it."""
    parser.addoption(
        _OPTION,
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="fail tests that are skipped for other reasons than those in tests/skips.py",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the skip of one test into a failure."""
    report = yield
    if item.config.getoption(_OPTION):
        fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns the skip of a whole module into an error."""
    report = yield
    if collector.config.getoption(_OPTION):
        fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Makes a failure of a skip whose reason is not allowed. Expected failures (xfail) are no skips."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    assert isinstance(report.longrepr, tuple)
    reason = report.longrepr[2].removeprefix(_PREFIX)
    if reason not in ALLOWED:
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} was skipped: {reason!r}. With {_OPTION} tests may be skipped for these reasons only: "
            f"{', '.join(sorted(ALLOWED))} (tests/skips.py)"
        )
