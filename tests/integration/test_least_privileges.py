"""Least privileges: with the rights of `contract/access.py` all goes on, and without any one of them a line says which.

A few rights in the usual run; all of them with `--kafka-secure`. `test_rights.py` takes them from processes that work.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from stream_app.contract.access import REPLAY_GROUP, Grant, grants
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from stream_app.versions.admin import promote
from tests.integration.principals import as_role, be_the_role_that_asks, secured_fields, taken
from tests.integration.running import Running, nextact
from tests.integration.test_end_to_end import shop_events, wait_answered
from tests.integration.topics import send_all
from tests.unit.builders.basics import HIDDEN
from tests.unit.builders.versions import save_version

pytestmark = pytest.mark.broker

FIRST_PROMOTION = ("trainer", "Write", "least.models_topic")

CODES = {"worker": {2, 70}, "trainer": {1, 2}}

_users = count(1)
_streams = count(1)


def stream_fields(name: str) -> dict[str, object]:
    topics = {field: f"{name}.{field}" for field in Settings.model_fields if field.endswith("_topic")}
    return {**topics, "group": f"{name}.group", "delivery": "exactly-once"}


RIGHTS = grants(Settings.model_construct(**stream_fields("least")))  # type: ignore[arg-type]
ALWAYS = {
    ("worker", "Read", "least.group"),
    ("worker", "Write", "least.state_topic"),
    ("operator", "Write", "least.models_topic"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each right is a case with `--kafka-secure`, a few are without."""
    if "right" in metafunc.fixturenames:
        every = metafunc.config.getoption("kafka_secure", None)
        without = ("items_topic", "statistics_topic", "-statistics")  # all goes on: test_topics, test_statistics
        needed = [right for right in RIGHTS if not right.name.endswith(without)]
        chosen = [right for right in needed if every or (right.role, right.operation, right.name) in ALWAYS]
        names = [f"{right.role}-{right.operation}-{right.resource}-{right.name}" for right in chosen]
        metafunc.parametrize("right", chosen, ids=names)


@pytest.fixture(scope="module")
def stream(secured: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stream in which there is something to do for every right: answered events, dead letters, versions."""
    folder = tmp_path_factory.mktemp("stream")
    settings = Settings(
        **secured_fields(secured) | stream_fields("least"),
        partitions=2,
        hidden=HIDDEN,
        registry=str(folder / "models"),
        history=str(folder / "history"),
        data_dir=folder / "data",
        train_min_events=10,
        device="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        be_the_role_that_asks(patch)
        asyncio.run(ensure_topics(settings))
        send(settings)
        for number in (1, 2):
            save_version(Path(settings.registry) / f"v{number}", seed=number)
        asyncio.run(promote(settings, "v1", datetime.now(UTC)))
        for role in {right.role for right in RIGHTS}:
            as_role(settings, role)
        worker = Running(["worker"], settings, folder / "worker.log")
        try:
            wait_answered(worker, settings)
        finally:
            worker.kill()
        yield settings


def send(settings: Settings) -> None:
    """An event, and what is none."""
    user = f"u{next(_users)}".encode()
    send_all(settings, [(user, b'{"user_id":"%s","type":"view","item_id":"i"}' % user), (user, b"{")])


def test_with_its_rights_each_role_does_its_work(stream: Settings, tmp_path: Path) -> None:
    """End to end; the fixture's worker has answered already, and the operator has made topics and promoted."""
    worker = Running(["worker"], stream, tmp_path / "worker.log")
    worker.wait_ready()
    send(stream)
    wait_answered(worker, stream)
    assert worker.terminate() == 0
    assert not re.search("(WARNING|ERROR|CRITICAL) +stream_app", worker.log.read_text())
    for command in (
        ["watch", "--from-start", "--count", "2"],
        ["dead-letters", "list"],
        ["dead-letters", "replay", "--all"],
        ["models", "list"],
        ["models", "promote", "v2"],
        ["models", "rollback"],
        ["topics", "--check"],
        ["doctor"],
        ["simulate", "--events", "100", "--rate", "0"],
        ["trainer", "--once"],
    ):
        done = nextact(*command, settings=stream)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert not re.search("not authori[sz]ed|grant ", done.stdout + done.stderr), (command, done.stderr)


def test_a_missing_right_is_named(stream: Settings, right: Grant, tmp_path: Path) -> None:
    """Operation and resource in one line; and the exit code of what a user can mend, or of a data path that ends.

    Without DescribeConfigs all goes on with a warning, and `doctor` goes on with what else there is to check.
    """
    settings = stream
    if right.operation == "Create" or (right.role, right.operation, right.name) == FIRST_PROMOTION:
        settings, right = fresh(stream, right)
    if right.resource != "TransactionalId":
        settings = settings.model_copy(update={"delivery": "at-least-once"})
    if right.role == "worker":
        send(settings)
    if right.role == "worker" and "joins" in right.name:
        send_all(settings, [(b"known", b'{"user_id":"known","type":"identify","anonymous_id":"visitor"}')])
    command = command_for(right)
    with taken(settings, [right]):
        process = Running(command, settings, tmp_path / "process.log")
        try:
            if right.operation == "DescribeConfigs":
                process.wait_until(lambda: says(process, right))
                return
            code = process.wait(120)
        finally:
            process.kill()
    assert says(process, right), process.tail()
    assert code in ({0, 1} if command == ["doctor"] else CODES.get(right.role, {2})), process.tail()


def fresh(stream: Settings, right: Grant) -> tuple[Settings, Grant]:
    """A stream without topics, where the operator is to make them; or without a version, where the trainer promotes."""
    name = f"fresh{next(_streams)}"
    settings = stream.model_copy(
        update=stream_fields(name) | {"registry": f"{stream.registry}-{name}", "history": f"{stream.history}-{name}"}
    )
    as_role(settings, right.role)
    if right.operation != "Create":
        asyncio.run(ensure_topics(settings))
        send_all(settings, shop_events(1500))
    return settings, replace(right, name=right.name.replace("least.", f"{name}."))


def says(process: Running, right: Grant) -> bool:
    """Whether a line of the log has the operation and the resource."""
    return any(right.operation in line and right.name in line for line in process.log.read_text().splitlines())


def command_for(right: Grant) -> list[str]:
    """What a role does with a right."""
    topic = right.name.partition(".")[2]
    match right.role, right.operation, topic:
        case ("worker", _, _):
            return ["worker"]
        case ("trainer", _, _):
            return ["trainer", "--once"]
        case ("publisher", _, _):
            return ["simulate", "--events", "10", "--rate", "0"]
        case ("subscriber", _, "predictions_topic"):
            return ["watch", "--from-start", "--count", "1"]
        case ("subscriber", _, _):
            return ["dead-letters", "list"]
        case (_, "Create", _):
            return ["topics"]
        case (_, "Write", "models_topic"):
            return ["models", "promote", "v2"]
        case (_, "Read", "models_topic"):
            return ["models", "list"]
        case (_, _, "events_topic") if right.operation == "Write":
            return ["dead-letters", "replay", "--all", "--again"]
        case (_, "Read", name) if name == "dead_letters_topic" or REPLAY_GROUP in name:
            return ["dead-letters", "replay", "--all", "--again"]
    return ["doctor"]
