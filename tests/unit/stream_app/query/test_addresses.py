"""What the group hears of a worker's address, and at which one it is asked from where."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import UsageError
from stream_app.query.addresses import WorkerAddress, host_address, is_spread, own_address, this_machine
from stream_app.settings import Settings, load_settings

HERE, ELSEWHERE = "machine of this worker", "another machine"


def address_of(port: int = 9680, **settings: object) -> WorkerAddress:
    return own_address(load_settings(settings), port, "one", HERE)


@given(st.text(min_size=1), st.sampled_from(["", HERE]), st.sampled_from(["127.0.0.1", "0.0.0.0", "::1", "localhost"]))
def test_what_is_spread_is_read_again(worker: str, machine: str, listens: str) -> None:
    address = WorkerAddress("http://10.0.0.5:9680", worker, machine, listens if machine else "")
    if worker.isprintable():
        assert WorkerAddress.read(str(address.spread())) == address


def test_workers_of_one_address_are_told_apart() -> None:
    settings = load_settings({"advertised": "http://shop:9680"})
    assert len({own_address(settings, 9680, name, HERE).spread() for name in ("one", "two")}) == 2


@pytest.mark.parametrize("spread", ["", "http://vm:6066", "vm:6066", "faust://a:b", "http://[", "http://vm:9/?worker="])
def test_of_a_worker_that_answers_no_questions_there_is_no_address(spread: str) -> None:
    assert WorkerAddress.read(spread) is None


def test_a_listener_on_loopback_is_asked_from_its_own_machine_alone() -> None:
    address = address_of(api_host="127.0.0.1")
    assert address.asked_from(HERE) == "http://127.0.0.1:9680"
    assert address.asked_from(ELSEWHERE) is None


@pytest.mark.parametrize(("listens", "loopback"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_a_listener_on_all_addresses_is_asked_from_its_own_machine_over_loopback(listens: str, loopback: str) -> None:
    address = address_of(api_host=listens, brokers="127.0.0.1:9092")
    assert address.asked_from(HERE) == f"http://{loopback}:9680"
    assert address.asked_from(ELSEWHERE) == "http://127.0.0.1:9680", "this host's address on the way to the brokers"


def test_a_listener_on_one_address_is_asked_there() -> None:
    address = address_of(api_host="10.0.0.5")
    assert address.asked_from(HERE) == address.asked_from(ELSEWHERE) == "http://10.0.0.5:9680"


@pytest.mark.parametrize(
    ("advertised", "url"),
    [
        ("shop-0.shop", "http://shop-0.shop:41"),
        ("shop-0.shop:80", "http://shop-0.shop"),
        ("http://shop-0.shop", "http://shop-0.shop"),
        ("https://shop:443/worker-0/", "https://shop/worker-0"),
        ("[2001:db8::5]:9680", "http://[2001:db8::5]:9680"),
    ],
)
def test_an_address_that_was_given_holds_for_all(advertised: str, url: str) -> None:
    address = address_of(41, advertised=advertised)
    assert address.asked_from(HERE) == address.asked_from(ELSEWHERE) == url
    assert WorkerAddress.read(str(address.spread())) == address


@pytest.mark.parametrize("advertised", ["ftp://shop", "http://", "shop:port", "http://shop/?a=b", "http://me:pw@shop"])
def test_what_is_no_address_is_refused(advertised: str) -> None:
    with pytest.raises(UsageError, match="NEXTACT_ADVERTISED"):
        address_of(advertised=advertised)


def test_without_a_way_to_the_brokers_the_host_goes_by_its_name() -> None:
    assert host_address("no-such-host.invalid:9092") == socket.gethostname()
    assert host_address("[::1]:9092") in ("::1", socket.gethostname())
    assert host_address("127.0.0.1:9092,other:9092") == "127.0.0.1"


def test_a_machine_has_one_name() -> None:
    assert this_machine() == this_machine()


def test_an_older_worker_can_take_the_place_back() -> None:
    for instance_id, write_format, spread in (
        ("", "previous", True),
        ("one", "current", True),
        ("one", "previous", False),
    ):
        settings = load_settings({"instance_id": instance_id, "write_format": write_format})
        assert is_spread(settings) is spread


def test_settings_have_no_address_of_their_own() -> None:
    assert Settings().advertised == ""
