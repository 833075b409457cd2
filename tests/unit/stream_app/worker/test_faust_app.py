"""The app of a worker before it is started: what it reads, what it keeps, and what happens before a rebalance."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from yarl import URL

from stream_app.worker import faust_app
from stream_app.worker.faust_app import _bare_app
from stream_app.worker.faust_table import TABLE
from stream_app.worker.faust_transport import FetchConsumer, FetchTransport
from tests.paths import ROOT
from tests.unit.builders.consumers import SETTINGS, Delivery, run


@pytest.mark.parametrize("delivery_commits", [False, True])
def test_the_transport_hands_out_fetches_of_events_and_changelog(delivery_commits: bool) -> None:
    async def body(consumer: FetchConsumer) -> None:
        transport = consumer.app.transport
        assert isinstance(transport, FetchTransport)
        assert transport.fetch_topics == {SETTINGS.events_topic, SETTINGS.state_topic}
        assert transport.hooks.commits is not delivery_commits
        assert transport.hooks.pause() == 0.25

    run(body, delivery=Delivery(commits_offsets=delivery_commits), pause=0.25)


def test_the_agent_reads_the_events_and_the_table_the_changelog() -> None:
    async def body(consumer: FetchConsumer) -> None:
        app = consumer.app
        (agent,) = app.agents.values()
        assert agent.channel.get_topic_name() == SETTINGS.events_topic
        assert app.tables[TABLE].changelog_topic.get_topic_name() == SETTINGS.state_topic

    run(body)


NONSENSE = "tcp://10.0.0.1:80"  # what Kubernetes sets WEB_PORT to for a service that is called web


def test_no_variable_of_faust_changes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would go before what the app is given: of a name as common as WEB_PORT or TIMEZONE."""

    def settings_of_app() -> dict[str, str]:
        conf = _bare_app(SETTINGS).conf
        names = [name for name, param in conf.SETTINGS.items() if not param.version_deprecated and name != "reply_to"]
        return {name: str(getattr(conf, name)) for name in names}  # without the one that is random

    expected = settings_of_app()
    names = [param.env_name for param in faust.Settings.SETTINGS.values() if param.env_name]
    assert {"WEB_PORT", "PROCESSING_GUARANTEE", "CONSUMER_MAX_FETCH_SIZE", "TIMEZONE", "APP_DATADIR"} <= set(names)
    for name in names:
        monkeypatch.setenv(name, NONSENSE)
    assert settings_of_app() == expected


def test_no_variable_that_faust_reads_when_it_is_imported_changes_anything() -> None:
    script = (
        "from stream_app.cli.common import importing\n"
        "with importing(): import faust.app.base, faust.streams, faust.types._env as env, mode.utils.logging as log\n"
        "import os\n"
        "print(env.WEB_PORT, env.DATADIR, env.DEBUG, env.STRICT, env.BLOCKING_TIMEOUT, faust.streams.NO_CYTHON, "
        "log.DEVLOG, os.environ.get('F_DATADIR'))\n"
    )
    names = (
        "FAUST_LOOP FAUST_WEB_PORT F_WEB_PORT F_DATADIR F_DEBUG FAUST_STRICT F_BLOCKING_TIMEOUT F_CONSOLE_PORT "
        "NO_CYTHON DEVLOG"
    )
    environment = os.environ | dict.fromkeys(names.split(), NONSENSE) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["6066", "{conf.name}-data", *["False"] * 2, "10.0", *["False"] * 2, NONSENSE]


def test_all_that_was_begun_is_finished_then_committed_before_partitions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    async def drained() -> None:
        happened.append("drained")

    async def commit() -> None:
        happened.append("committed")

    async def body(consumer: FetchConsumer) -> None:
        monkeypatch.setattr(consumer, "commit", commit)
        await consumer.app.on_partitions_revoked.send(set())

    run(body, drained=drained)
    assert happened == ["drained", "committed"]


def test_the_process_ends_before_the_group_gives_partitions_away_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[BaseException] = []

    async def drained() -> None:
        await asyncio.Event().wait()  # a broker that answers nothing

    async def body(consumer: FetchConsumer) -> None:
        conf = consumer.app.conf
        waits, heartbeat = conf.broker_rebalance_timeout, conf.broker_heartbeat_interval
        assert waits >= SETTINGS.session_timeout
        assert faust_app._patience(conf) + 2 * heartbeat < waits
        monkeypatch.setattr(faust_app, "_patience", lambda _: 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await consumer.app.transport.hooks.finish_first()

    run(body, drained=drained, fail=failed.append)
    assert ["could not be finished within 0.01 s" in str(error) for error in failed] == [True]


def test_the_broker_is_asked_as_the_settings_say() -> None:
    async def body(consumer: FetchConsumer) -> None:
        conf = consumer.app.conf
        assert [f"{url.host}:{url.port}" for url in conf.broker] == SETTINGS.brokers.split(",")
        assert conf.id == SETTINGS.group
        assert conf.broker_session_timeout == SETTINGS.session_timeout
        assert conf.broker_request_timeout > SETTINGS.session_timeout
        assert conf.consumer_auto_offset_reset == "none"  # `FetchThread` finds out where to go on

    run(body)


def test_a_worker_comes_back_to_its_place_in_the_group_with_another_address() -> None:
    events, before, now = (
        SETTINGS.events_topic,
        "http://10.0.0.5:9680/?worker=one",
        URL("http://10.0.0.9:40/?worker=one"),
    )
    given = ClientMetadata(
        assignment=ClientAssignment(actives={events: [1, 3]}, standbys={}),
        url=before,
        changelog_distribution={},
        external_topic_distribution={before: {events: [1, 3]}, "http://10.0.0.6:9680/?worker=two": {events: [0, 2]}},
        topic_groups={},
    )

    async def body(consumer: FetchConsumer) -> None:
        consumer.app.conf.canonical_url = now
        assignor = consumer.app.assignor
        assignor.on_assignment(
            ConsumerProtocolMemberAssignment(4, [(events, [1, 3])], assignor._compress(given.dumps()))
        )
        assert {tp.partition for tp in assignor.assigned_actives()} == {1, 3}
        assert assignor.owner_url(events, 1) == before
        assert assignor.owner_url(events, 2) == "http://10.0.0.6:9680/?worker=two"
        assert assignor.owner_url(events, 4) is None
        sent = ClientMetadata.loads(assignor.metadata({events}).user_data)
        assert sent.url == str(now), "what the others hear of it"

    run(body)
