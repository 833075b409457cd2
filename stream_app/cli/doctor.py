"""`nextact doctor`: shows the settings and where they come from, and checks device, Kafka and topics."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from importlib.metadata import version

import torch

from model.addresses import shown
from model.errors import NextactError
from stream_app.device import choose_device
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import PREFIX, Settings


async def check_setup(settings: Settings, given: Collection[str], say: Callable[[str], None]) -> bool:
    """Says what it finds; returns True when nothing is wrong. `given`: settings named on the command line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("nextact", "faust-streaming", "aiokafka", "torch"))
    say(packages)
    say("\nsettings")
    for name, value in settings:
        say(f"  {name:20} {shown(str(value)):30} {_origin(name, given)}")
    say("\nchecks")
    device = _device(settings, say)
    topics = await _topics(settings, say)
    return device and topics


def _origin(name: str, given: Collection[str]) -> str:
    variable = f"{PREFIX}{name.upper()}"
    if name in given:
        return "command line"
    return variable if variable in os.environ else "default"


def _device(settings: Settings, say: Callable[[str], None]) -> bool:
    try:
        device = choose_device(settings.device, fallback=settings.device_fallback)
    except NextactError as error:
        say(f"  FAIL  device: {error}")
        return False
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads at most"
    say(f"  ok    device: {device} ({name})")
    return True


async def _topics(settings: Settings, say: Callable[[str], None]) -> bool:
    try:
        reports = await ensure_topics(settings, create=False)
    except NextactError as error:
        say(f"  FAIL  Kafka: {error}")
        return False
    say(f"  ok    Kafka at {settings.brokers}")
    for report in reports:
        say(f"  ok    topic {report.name}: {report.partitions} partitions, {report.replicas} replicas")
    return True
