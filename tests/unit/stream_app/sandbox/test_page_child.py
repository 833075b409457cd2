"""The page beside the demo: it says where it is, or why it is not there, and never ends the demo."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from stream_app.sandbox import page_child
from stream_app.sandbox.page_child import INSTALL, PageChild


def page(folder: Path, program: str = "") -> PageChild:
    child = PageChild(folder, worker="http://127.0.0.1:1", brokers="127.0.0.1:1", simulated=True)
    if program:
        child._command = [sys.executable, "-c", program]
    return child


def test_without_its_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_child, "find_spec", lambda name: None)
    child = page(tmp_path)
    assert asyncio.run(child.start()) == INSTALL
    child.stop(1)


def test_it_says_where_it_is(tmp_path: Path) -> None:
    child = page(tmp_path, "import time; print('the page is at http://127.0.0.1:7/', flush=True); time.sleep(60)")
    try:
        assert asyncio.run(child.start()) == "see it in the browser: http://127.0.0.1:7/   (a simulated shop)"
    finally:
        child.stop(1)


def test_one_that_fails_says_why(tmp_path: Path) -> None:
    child = page(tmp_path, "raise SystemExit('it burns')")
    assert asyncio.run(child.start()) == "there is no page in the browser: it ended with 1: it burns"
    child.stop(1)


def test_one_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_child, "_START_S", 0.2)
    child = page(tmp_path, "import time; time.sleep(60)")
    try:
        assert "did not start within 0.2 s" in asyncio.run(child.start())
    finally:
        child.stop(1)
