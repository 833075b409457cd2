"""`nextact doctor`: shows the settings and where they come from, and checks all that a stream needs around it."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from importlib.metadata import version

import torch
from aiokafka.errors import KafkaError

from model.addresses import shown
from model.errors import NextactError
from model.versions.registry import version_names
from stream_app.cli.key_check import sample_keys
from stream_app.device import choose_device
from stream_app.environment import FILE, unknown_variables, variable_of
from stream_app.history.storage import HistoryStorage
from stream_app.kafka.cluster_checks import (
    Finding,
    cluster_findings,
    compression_finding,
    files_finding,
    look_at_cluster,
    topic_findings,
)
from stream_app.kafka.refusals import refusal
from stream_app.kafka.topic_admin import topic_states
from stream_app.settings import Settings
from stream_app.versions.timeouts import with_timeout
from stream_app.worker.exactly_once import TRANSACTION_TIMEOUT_MS


async def check_setup(settings: Settings, given: Collection[str], say: Callable[[str], None]) -> bool:
    """Says what it finds; returns True when nothing is wrong. `given`: settings named on the command line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("nextact", "faust-streaming", "aiokafka", "torch"))
    say(packages)
    say("\nsettings")
    for name, value in settings:
        say(f"  {name:20} {shown(str(value)):30} {_origin(name, given)}")
    say("\nchecks")
    well = True
    async for finding in _findings(settings):
        say(f"  {finding.level:4}  {finding.text}")
        well = well and finding.level != "FAIL"
    return well


def _origin(name: str, given: Collection[str]) -> str:
    variable = variable_of(name)
    if name in given:
        return "command line"
    if variable + FILE in os.environ:
        return f"{variable}{FILE} ({os.environ[variable + FILE]})"
    return variable if variable in os.environ else "default"


async def _findings(settings: Settings) -> AsyncIterator[Finding]:
    for variable in unknown_variables(os.environ, Settings.model_fields):
        yield Finding("FAIL", str(variable))
    yield _device(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # to which a worker raises its soft limit
    yield files_finding(settings, hard)
    yield await _registry(settings)
    yield await _history(settings)
    for finding in await _kafka(settings):
        yield finding


def _device(settings: Settings) -> Finding:
    try:
        device = choose_device(settings.device, fallback=settings.device_fallback)
    except NextactError as error:
        return Finding("FAIL", f"device: {error}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads at most"
    return Finding("ok", f"device: {device} ({name})")


async def _registry(settings: Settings) -> Finding:
    def read() -> int:
        return len(version_names(settings.registry_address))

    return await _storage("registry", settings.registry_address, settings.registry_timeout, read, "versions")


async def _history(settings: Settings) -> Finding:
    def read() -> int:
        return len(HistoryStorage(settings.history_address).sizes())

    return await _storage("history", settings.history_address, settings.registry_timeout, read, "files")


async def _storage(what: str, address: str, seconds: float, read: Callable[[], int], counted: str) -> Finding:
    try:
        count = await with_timeout(seconds, read)
    except NextactError as error:
        return Finding("FAIL", f"{what}: {error}")
    except TimeoutError:
        return Finding("FAIL", f"{what}: {shown(address)} does not answer within {seconds:g} s")
    return Finding("ok", f"{what}: {shown(address)}, {count:,} {counted}")


async def _kafka(settings: Settings) -> Iterable[Finding]:
    try:
        topics = await topic_states(settings, "operator")
        cluster = await look_at_cluster(settings, TRANSACTION_TIMEOUT_MS)
    except NextactError as error:
        return [Finding("FAIL", f"Kafka: {error}")]
    except (KafkaError, OSError) as error:
        return [Finding("FAIL", f"Kafka at {shown(settings.brokers)}: {error!r}")]
    found = [
        *cluster_findings(settings, cluster),
        compression_finding(cluster, settings.compression),
        *topic_findings(settings, topics, cluster.brokers),
    ]
    if any(state.partitions for state in topics if state.name == settings.events_topic):
        found.append(await _keys(settings))
    return found


async def _keys(settings: Settings) -> Finding:
    try:
        sample = await sample_keys(settings)
    except NextactError as error:
        return Finding("FAIL", f"keys: {error}")
    except (KafkaError, OSError) as error:
        return Finding("FAIL", f"keys: the newest events cannot be read: {refusal(error, 'Read') or repr(error)}")
    return Finding("warn" if sample.misplaced else "ok", f"keys: {sample}")
