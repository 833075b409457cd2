"""What the tests of the search share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu) if torch.cuda.is_available() else "cpu"])
def kernel_device(request: pytest.FixtureRequest) -> torch.device:
    """One device per machine: where there is a GPU, kernels are compiled for it, and none can be interpreted."""
    return torch.device(request.param)
