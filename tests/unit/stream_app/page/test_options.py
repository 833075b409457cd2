"""Which addresses are those of an API."""

from __future__ import annotations

import pytest

from stream_app.page.options import is_address


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("http://127.0.0.1:9680", True),
        ("https://worker.example/", True),
        ("http://[::1]:9680", True),
        ("127.0.0.1:9680", False),
        ("ftp://worker", False),
        ("http://", False),
        ("http://worker:port", False),
        ("http://[", False),
    ],
)
def test_an_address_has_scheme_and_host(url: str, right: bool) -> None:
    assert is_address(url) == right
