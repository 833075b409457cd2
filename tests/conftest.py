"""What all tests share: one PyTorch thread, compiled loops, no deadlines on a busy machine, the devices to run on."""

from __future__ import annotations

import os
from typing import Final

import hypothesis
import pytest
import torch

from tests.paths import COMPILED
from tests.skips import (  # noqa: F401 - pytest finds its hooks here
    NO_GPU,
    pytest_addoption,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

# The first compiles all loops ahead, and leaves them to the others: no worker starts before. Beside it come those that
# compile none; of two processes the first also gets the third.
_FIRST: Final = (
    "integration/test_cold_start.py",
    "integration/test_broker.py",
    "integration/test_command_line.py",
    "integration/test_page.py",
    "integration/test_named_errors.py",
    "unit/test_skips.py",
    "unit/test_house.py",
    "unit/test_readme.py",
    "unit/test_deploy.py",
    "unit/test_monitoring.py",
)

torch.set_num_threads(1)
os.environ.setdefault("NUMBA_CACHE_DIR", str(COMPILED))
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # a broker of a minute is compiled once, quickly
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # what a GPU runs, on the CPU; read where a kernel is defined
hypothesis.settings.register_profile("nextact", deadline=None)
hypothesis.settings.load_profile("nextact")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that come first before all others."""
    rank = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get("/".join(item.path.parts[-2:]), len(rank)))


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_GPU)
    return torch.device(request.param)
