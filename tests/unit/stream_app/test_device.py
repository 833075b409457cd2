"""Which device is used, and when the CPU may stand in: at the start, never after a step."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stream_app.device import CPU, check_device, choose_device, device_errors, hint
from stream_app.errors import DeviceUnusable, SettingsInvalid
from stream_app.settings import Settings, load_settings
from stream_app.worker import worker
from stream_app.worker.worker import Worker, run_worker

MISSING = "cuda:99"
# Stands for a GPU that fails its first step: tensors can be made on it, but nothing can be read from them.
DEAD = torch.device("meta")


@pytest.mark.parametrize("name", ["nonsense", "mps", "meta"])
def test_an_unknown_device_is_refused_with_or_without_a_fallback(name: str) -> None:
    for fallback in (False, True):
        with pytest.raises(SettingsInvalid, match="auto, cpu, cuda or cuda:N"):
            choose_device(name, fallback=fallback)


def test_a_missing_gpu_is_refused_or_the_cpu_stands_in(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceUnusable, match="NEXTACT_DEVICE_FALLBACK=true"):
        choose_device(MISSING)
    assert caplog.records == []
    assert choose_device(MISSING, fallback=True) == CPU
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert MISSING in caplog.text


def test_errors_on_the_cpu_are_not_those_of_a_device() -> None:
    with pytest.raises(RuntimeError, match="shape"), device_errors(CPU):
        raise RuntimeError("shape")
    with pytest.raises(DeviceUnusable, match=r"cuda:1.*out of memory"), device_errors(torch.device("cuda:1")):
        raise torch.OutOfMemoryError("out of memory")


def test_a_device_that_stopped_working_is_noticed() -> None:
    check_device(CPU)
    with pytest.raises(DeviceUnusable, match=r"'meta' does not work in this process any more: .*start it again"):
        check_device(DEAD)


def test_the_log_says_what_to_do_about_errors_of_a_device_only() -> None:
    assert "NEXTACT_BATCH_SIZE" in (hint(torch.OutOfMemoryError("CUDA out of memory")) or "")
    assert "NEXTACT_DEVICE_FALLBACK" in (hint(RuntimeError("CUDA error: device-side assert")) or "")
    assert hint(RuntimeError("shape")) is hint(ConnectionError()) is None


def test_a_worker_is_not_ready_before_its_first_step() -> None:
    async def body() -> None:
        store: Any = SimpleNamespace(read=None)
        fine = Worker(load_settings(), CPU, store)
        assert "first step" in (fine._not_ready() or "")
        await fine._warm_up()
        assert "partitions" in (fine._not_ready() or "")
        with pytest.raises(DeviceUnusable, match="first step"):
            await Worker(load_settings(), DEAD, store)._warm_up()

    asyncio.run(body())


def started_on(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> list[torch.device]:
    """Returns the devices of the workers that `run_worker` starts when the first one's device fails."""
    started: list[torch.device] = []

    async def run(self: Worker, _: asyncio.Event) -> None:
        started.append(self._device)
        await self._warm_up()

    monkeypatch.setattr(worker, "choose_device", lambda *_, **__: DEAD)
    monkeypatch.setattr(Worker, "run", run)
    asyncio.run(run_worker(settings.model_copy(update={"data_dir": tmp_path}), asyncio.Event()))
    return started


def test_the_cpu_stands_in_for_a_device_that_fails_its_first_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert started_on(monkeypatch, load_settings({"device_fallback": True}), tmp_path) == [DEAD, CPU]
    assert "The CPU stands in" in caplog.text


def test_without_the_setting_such_a_device_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnusable, match="failed a first step"):
        started_on(monkeypatch, load_settings(), tmp_path)
