"""One embedded broker for the session; every test has topics and a group of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from tests.integration.forked import prepare
from tests.integration.image import compiling
from tests.integration.principals import be_the_role_that_asks, secured_fields
from tests.integration.running import Running

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; they are there when pytest is given this folder, or a file of it."""
    parser.addoption("--kafka-secure", action="store_true", help="on a secured broker, each role with its rights alone")
    parser.addoption("--kafka", metavar="VERSION", help="version of the embedded Kafka: 3.3, 3.9, 4.4, or one in full")


@pytest.fixture(scope="session")
def kafka_version(pytestconfig: pytest.Config) -> str | None:
    """The version of Kafka to test with; None: the present one."""
    version: str | None = pytestconfig.getoption("kafka", None)
    return version


@pytest.fixture(scope="session")
def kafka(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, kafka_version: str | None
) -> Iterator[Broker]:
    prepare()
    folder = tmp_path_factory.mktemp("kafka")
    secure = folder / "secure" if pytestconfig.getoption("kafka_secure", None) else None
    with (
        Broker(folder / "kafka", version=kafka_version, secure=secure) as broker,
        pytest.MonkeyPatch.context() as patch,
    ):
        if secure:
            be_the_role_that_asks(patch)
        yield broker


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory, kafka_version: str | None) -> Iterator[Broker]:
    """A secured broker on which nobody but its admin has any rights, but for those that a test gives."""
    folder = tmp_path_factory.mktemp("secured")
    with Broker(folder / "kafka", version=kafka_version, secure=folder / "secure") as broker:
        yield broker


@pytest.fixture
def settings(kafka: Broker, tmp_path: Path) -> Settings:
    """Settings of a stream that nobody else uses. Waits for loops that are compiled ahead at this moment: a worker that
    has to compile them, too, is not ready within the time that tests give it."""
    with compiling(others=True):
        pass
    prefix = f"t{next(_numbers)}"
    connection = secured_fields(kafka) if kafka.secured else {"brokers": kafka.bootstrap_servers}
    return Settings(
        **connection,
        group=f"{prefix}-nextact",
        events_topic=f"{prefix}.events",
        predictions_topic=f"{prefix}.predictions",
        dead_letters_topic=f"{prefix}.dead-letters",
        state_topic=f"{prefix}.changelog",
        models_topic=f"{prefix}.models",
        canary_topic=f"{prefix}.canary-reports",
        items_topic=f"{prefix}.items",
        joins_topic=f"{prefix}.joins",
        statistics_topic=f"{prefix}.statistics",
        partitions=4,
        registry=str(tmp_path / "models"),
        history=str(tmp_path / "history"),
        data_dir=tmp_path / "data",
        rules_share=1.0,
        canary_share=0.0,
        holdback_share=0.0,
        session_timeout=6.0,
        device="cpu",
    )


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `nextact` commands with the test's settings, changed or not; ends what runs when the test is over."""
    started: list[Running] = []

    def run(*command: str, module: str = "stream_app", **changes: Any) -> Running:
        log = tmp_path / f"{len(started)}-{command[0]}.log"
        running = Running(command, settings.model_copy(update=changes), log, module)
        started.append(running)
        return running

    yield run
    for running in started:
        running.kill()
