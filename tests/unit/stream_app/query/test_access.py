"""Who may ask: tokens, addresses, rates."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import test_utils
from pydantic import SecretStr

from stream_app.errors import UsageError
from stream_app.query.access import Access, check_exposure
from stream_app.query.addresses import is_loopback
from stream_app.query.forwarding import HOP
from stream_app.query.refusals import Refusal
from stream_app.settings import Settings


def code(access: Access, headers: dict[str, str] | None = None, *, is_open: bool = False) -> str | None:
    """The code of the refusal; None: the request may be answered."""
    request = test_utils.make_mocked_request("GET", "/v1/worker", {"Host": "127.0.0.1:9680"} | (headers or {}))
    try:
        access.check(request, is_open=is_open)
    except Refusal as refusal:
        return refusal.content.code
    return None


def access_of(clock: Any = lambda: 0.0, **changes: Any) -> Access:
    return Access(Settings(**changes), clock)


def test_another_address_than_loopback_needs_tokens() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_exposure(Settings(api_host=host))
    for host in ("0.0.0.0", "::", "10.0.0.1", "worker-1", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match=f"{host}.*NEXTACT_API_TOKENS"):
            check_exposure(Settings(api_host=host, api_tokens=SecretStr(" \n")))
        check_exposure(Settings(api_host=host, api_tokens=SecretStr("abc")))


def test_each_of_the_tokens_lets_in_and_nothing_else() -> None:
    access = access_of(api_tokens=SecretStr("one-token\n another \n"))
    assert code(access) == "no_token"
    assert code(access, is_open=True) is None
    for token in ("one-token", "another"):
        assert code(access, {"Authorization": f"Bearer {token}"}) is None
        assert code(access, {"Authorization": f"bearer   {token} "}) is None
        assert code(access, {"Authorization": token}) == "no_token"
        assert code(access, {"Authorization": f"Basic {token}"}) == "no_token"
        assert code(access, {"Authorization": f"Bearer {token[:-1]}"}) == "wrong_token"
    assert code(access, {"Authorization": "Bearer one-token another"}) == "wrong_token"
    assert code(access, {"Authorization": "Bearer \xff"}) == "wrong_token"
    assert code(access, {"Authorization": "Bearer "}) == "no_token"


def test_without_tokens_a_name_of_elsewhere_does_not_lead_here() -> None:
    access = access_of()
    for host in ("127.0.0.1:1", "localhost:1", "localhost", "[::1]:9680", "10.1.2.3"):
        assert code(access, {"Host": host}) is None
    for host in ("shop.example:9680", "localhost.shop.example", "127.0.0.1.shop.example:9680"):
        assert code(access, {"Host": host}) == "bad_request"
    assert (
        code(access_of(api_tokens=SecretStr("abcd")), {"Host": "shop.example", "Authorization": "Bearer abcd"}) is None
    )


def test_a_client_has_a_rate_and_saves_up_for_a_second() -> None:
    now = 0.0
    access = access_of(lambda: now, api_rate=4)
    for _ in range(2):
        assert [code(access) for _ in range(6)] == [None] * 4 + ["too_many"] * 2
        now += 100
    now += 0.5
    assert [code(access) for _ in range(6)] == [None] * 4 + ["too_many"] * 2
    now += 0.5
    assert [code(access, is_open=True) for _ in range(3)] == [None] * 2 + ["too_many"]


def test_the_worker_that_forwards_a_question_counts_it() -> None:
    access = Access(Settings(api_rate=2, api_tokens=SecretStr("abcd")), lambda: 0.0, "nextact/one")
    hop, token = {HOP: "nextact/one"}, {"Authorization": "Bearer abcd"}
    assert {code(access, hop | token) for _ in range(9)} == {None}
    assert [code(access, token) for _ in range(3)] == [None, None, "too_many"]
    access = Access(Settings(api_rate=2, api_tokens=SecretStr("abcd")), lambda: 0.0, "nextact/one")
    assert [code(access, hop) for _ in range(3)] == ["no_token", "no_token", "too_many"], (
        "or who has no token may try on"
    )
    assert code(access, {HOP: "nextact/two"} | token) == "too_many"


def test_a_rate_below_one_and_no_rate() -> None:
    now = 0.0
    slow = access_of(lambda: now, api_rate=0.5)
    assert [code(slow) for _ in range(2)] == [None, "too_many"]
    now = 2.0
    assert [code(slow) for _ in range(2)] == [None, "too_many"]
    free = access_of(api_rate=0.0)
    assert {code(free) for _ in range(9)} == {None}
