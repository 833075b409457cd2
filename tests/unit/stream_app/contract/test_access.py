"""The rights of the roles: enough for the topics that each looks at, and none beyond."""

from __future__ import annotations

from stream_app.contract.access import ROLES, Grant, Role, grants, topics_of
from stream_app.contract.topics import topics
from stream_app.settings import load_settings
from stream_app.worker.exactly_once import transactional_id

SETTINGS = load_settings()
EXACTLY_ONCE = load_settings({"delivery": "exactly-once"})


def rights(role: Role, operation: str, resource: str = "Topic") -> set[str]:
    wanted = (role, operation, resource)
    return {each.name for each in grants(SETTINGS) if (each.role, each.operation, each.resource) == wanted}


def test_no_right_is_there_twice() -> None:
    listed = [(each.role, each.operation, each.resource, each.name) for each in grants(EXACTLY_ONCE)]
    assert len(set(listed)) == len(listed)
    assert {each.role for each in grants(SETTINGS)} == set(ROLES)


def test_only_trainer_and_operator_promote_and_only_the_operator_makes_topics() -> None:
    writers = {each.role for each in grants(SETTINGS) if each.operation == "Write" and each.name == "shop.models"}
    assert writers == {"trainer", "operator"}
    assert {each.role for each in grants(SETTINGS) if each.operation == "Create"} == {"operator"}
    assert rights("operator", "Create") == {spec.name for spec in topics(SETTINGS)}


def test_each_role_looks_at_its_own_topics() -> None:
    assert topics_of(SETTINGS, "worker") == {spec.name for spec in topics(SETTINGS)}
    theirs = {"shop.events", "shop.models", "shop.canary-reports", "shop.items", "shop.statistics"}
    assert topics_of(SETTINGS, "trainer") == theirs
    assert topics_of(SETTINGS, "publisher") == {"shop.events", "shop.items"}
    assert topics_of(SETTINGS, "subscriber") == {"shop.predictions", "shop.events.dead-letters", "shop.items"}
    assert rights("worker", "Write") == topics_of(SETTINGS, "worker") - (theirs - {"shop.canary-reports"})


def test_the_newest_predictions_are_written_by_workers_and_read_by_subscribers() -> None:
    wanted = load_settings({"predictions_latest_topic": "latest"})
    more = {(each.role, each.operation) for each in grants(wanted) if each.name == "latest"}
    workers = {("worker", "Write"), ("worker", "DescribeConfigs")}
    operators = {("operator", "Create"), ("operator", "Describe"), ("operator", "DescribeConfigs")}
    assert more == workers | operators | {("subscriber", "Read")}
    assert [each for each in grants(wanted) if each.name != "latest"] == grants(SETTINGS)


def test_profiles_are_written_by_workers_and_read_by_no_subscriber() -> None:
    wanted = load_settings({"profile_topic": "profiles"})
    more = {(each.role, each.operation) for each in grants(wanted) if each.name == "profiles"}
    assert {role for role, _ in more} == {"worker", "operator"}
    assert more >= {("worker", "Write"), ("operator", "Create"), ("operator", "Read")}
    assert [each for each in grants(wanted) if each.name != "profiles"] == grants(SETTINGS)


def test_transactions_need_rights_where_delivery_is_exactly_once() -> None:
    def transactional(each: Grant) -> bool:
        return each.resource == "TransactionalId"

    (writer,) = filter(transactional, grants(SETTINGS))
    assert (writer.role, writer.prefixed) == ("trainer", False)
    worker, _, operator = filter(transactional, grants(EXACTLY_ONCE))
    assert worker.prefixed
    assert transactional_id(EXACTLY_ONCE, 3).startswith(worker.name)
    assert not writer.name.startswith(worker.name), "no worker may lock the statistics' writer out"
    assert not operator.prefixed
