"""The app of a worker before it is started: what it reads, what it keeps, and what happens before a rebalance."""

from __future__ import annotations

import pytest

from stream_app.worker.faust_table import TABLE
from stream_app.worker.faust_transport import FetchConsumer, FetchTransport
from tests.unit.builders.consumers import SETTINGS, Delivery, run


@pytest.mark.parametrize("delivery_commits", [False, True])
def test_the_transport_hands_out_fetches_of_events_and_changelog(delivery_commits: bool) -> None:
    async def body(consumer: FetchConsumer) -> None:
        transport = consumer.app.transport
        assert isinstance(transport, FetchTransport)
        assert transport.fetch_topics == {SETTINGS.events_topic, SETTINGS.state_topic}
        assert transport.commits is not delivery_commits
        assert transport.pause() == 0.25

    run(body, delivery=Delivery(commits_offsets=delivery_commits), pause=0.25)


def test_the_agent_reads_the_events_and_the_table_the_changelog() -> None:
    async def body(consumer: FetchConsumer) -> None:
        app = consumer.app
        (agent,) = app.agents.values()
        assert agent.channel.get_topic_name() == SETTINGS.events_topic
        assert app.tables[TABLE].changelog_topic.get_topic_name() == SETTINGS.state_topic

    run(body)


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


def test_the_broker_is_asked_as_the_settings_say() -> None:
    async def body(consumer: FetchConsumer) -> None:
        conf = consumer.app.conf
        assert [f"{url.host}:{url.port}" for url in conf.broker] == SETTINGS.brokers.split(",")
        assert conf.id == SETTINGS.group
        assert conf.broker_session_timeout == SETTINGS.session_timeout
        assert conf.broker_request_timeout > SETTINGS.session_timeout
        assert conf.consumer_auto_offset_reset == "none"  # `FetchThread` finds out where to go on

    run(body)
