"""The first process of a group leads; without `torchrun` there is no group."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from model.training.replicas import end_group, rank, replicas
from stream_app.settings import Settings
from stream_app.trainer.torchrun import launched, lead_or_follow


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of the only process of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    yield
    if dist.is_initialized():
        end_group()


def test_a_process_that_torchrun_has_not_started_is_not_in_a_group() -> None:
    assert not launched()
    assert (rank(), replicas()) == (0, 1)


def test_the_first_process_leads_and_ends_the_group_with_its_result(alone: None) -> None:
    groups = []

    def lead() -> str:
        groups.append((dist.is_initialized(), rank(), replicas()))
        return "promoted"

    assert lead_or_follow(Settings(device="cpu"), lead) == "promoted"
    assert groups == [(True, 0, 1)]
    assert not dist.is_initialized()


def test_a_leader_that_a_signal_has_ended_does_not_wait_for_the_others(alone: None) -> None:
    assert lead_or_follow(Settings(device="cpu"), lambda: None) is None
    assert dist.is_initialized(), "the others were sent the signal as well, and need no message"


FITTING = """
from pathlib import Path
from stream_app.settings import Settings
from stream_app.trainer.torchrun import lead_or_follow

def lead():
    import torch
    weight = torch.nn.Linear(1, 1)
    weight(torch.ones(1)).sum().backward()
    torch.optim.Adam(weight.parameters()).step()
    return "promoted"

lead_or_follow(Settings(device="cpu"), lead)
print([name for task in Path("/proc/self/task").iterdir() if "gloo" in (name := (task / "comm").read_text())])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names under /proc")
def test_no_thread_of_the_group_outlives_it(alone: None) -> None:
    """One that lets go of a tensor while the interpreter ends would abort a trainer that has promoted."""
    ended = subprocess.run([sys.executable, "-c", FITTING], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr
