"""A secured broker: nobody comes in without a name, and nobody but admin may do what was not given to them."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.contract.access import ROLES, grants
from stream_app.errors import AuthenticationFailed, BrokerFailed, TlsRefused, WrongProtocol
from stream_app.kafka.clients import new_admin
from stream_app.sandbox.access_admin import Acl, give_rights, list_acls, remove_acls
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings

pytestmark = pytest.mark.broker

REFUSED = r"needs DESCRIBE permission|is not authorized"  # as Kafka 4 and 3 say it


def settings_of(broker: Broker, user: str) -> Settings:
    return Settings(**broker.secure.settings_for(user))


async def rights(settings: Settings) -> set[Acl]:
    admin = new_admin(settings, "operator")
    try:
        await admin.start()
        return await list_acls(admin)
    finally:
        await admin.close()


def test_only_admin_and_the_broker_itself_are_super_users(secured: Broker) -> None:
    lines = (secured.data_dir / "node-1" / "server.properties").read_text().splitlines()
    assert [line for line in lines if line.startswith("super.users=")] == ["super.users=User:admin;User:broker"]
    assert "allow.everyone.if.no.acl.found=false" in lines
    asyncio.run(rights(settings_of(secured, "admin")))
    for role in ROLES:
        with pytest.raises(BrokerFailed, match=REFUSED):
            asyncio.run(rights(settings_of(secured, role)))


def test_rights_are_given_and_taken_as_kafka_keeps_them(secured: Broker) -> None:
    settings = settings_of(secured, "admin").model_copy(update={"delivery": "exactly-once"})
    wanted = {Acl.of(grant) for grant in grants(settings)}
    others = asyncio.run(rights(settings)) - wanted  # of other tests
    asyncio.run(give_rights(settings))
    assert asyncio.run(rights(settings)) == wanted | others

    async def take(acls: set[Acl]) -> None:
        admin = new_admin(settings, "operator")
        await admin.start()
        await remove_acls(admin, acls)
        await admin.close()

    some = {acl for acl in wanted if acl.user == "trainer"}
    asyncio.run(take(some))
    assert asyncio.run(rights(settings)) == (wanted - some) | others
    asyncio.run(take(wanted))
    assert asyncio.run(rights(settings)) == others


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_both_mechanisms_take_the_password_and_no_other(secured: Broker, mechanism: str) -> None:
    fields = secured.secure.settings_for("admin") | {"sasl_mechanism": mechanism}
    asyncio.run(rights(Settings(**fields)))
    with pytest.raises(AuthenticationFailed, match=f"by {mechanism} as 'admin'.*see NEXTACT_SASL_MECHANISM and user"):
        asyncio.run(rights(Settings(**fields | {"sasl_password": "guessed"})))


def test_a_certificate_is_a_name_too_where_brokers_meet_and_no_name_is_refused(secured: Broker) -> None:
    address = secured.nodes[0].internal_address
    asyncio.run(rights(Settings(**secured.secure.certificate_settings("admin", address))))
    with pytest.raises(BrokerFailed, match=REFUSED):
        asyncio.run(rights(Settings(**secured.secure.certificate_settings("worker", address))))
    with pytest.raises(TlsRefused, match="asks for a certificate of the client"):
        asyncio.run(
            rights(Settings(brokers=address, security_protocol="SSL", ssl_cafile=str(secured.secure.authority)))
        )
    with pytest.raises(WrongProtocol, match="speaks TLS, and this client does not"):
        asyncio.run(rights(Settings(brokers=secured.bootstrap_servers)))
