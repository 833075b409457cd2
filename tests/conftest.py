"""What all tests share: one PyTorch thread, no deadlines on a busy machine, and the devices to run on."""

from __future__ import annotations

import os

import hypothesis
import pytest
import torch

from tests.skips import (  # noqa: F401 - pytest finds its hooks here
    NO_GPU,
    pytest_addoption,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

torch.set_num_threads(1)
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # a broker of a minute is compiled once, quickly
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # what a GPU runs, on the CPU; read where a kernel is defined
hypothesis.settings.register_profile("nextact", deadline=None)
hypothesis.settings.load_profile("nextact")


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_GPU)
    return torch.device(request.param)
