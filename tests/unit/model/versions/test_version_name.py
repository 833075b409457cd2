"""The names that versions may have, and how a text that is none is logged."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.versions.version_name import is_version_name, quoted


@pytest.mark.parametrize("name", ["20260102T030405.000006Z", "v1", "a", "0", "my-model_2.1.rc", "v" * 64])
def test_names_that_a_version_may_have(name: str) -> None:
    assert is_version_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".v1", "-v1", "_v1", "v1.", "a..b", "../v1", "a/b", "a\\b", "/v1", "v1\n", "v1\r", "v1\0"),
        *("a::b", "a:b", "é", "\uff11", "v" * 65, "v1 ", "a b", "~", "s3://a", "a%2Fb", "a?b", "a*", "a[0]"),
    ],
)  # fmt: skip
def test_names_that_no_version_may_have(name: str) -> None:
    assert not is_version_name(name)


@given(st.text(max_size=70))
def test_what_is_allowed_is_what_the_contract_says(name: str) -> None:
    """The pattern of the contract, said by Python's own `$` with its exception for a line break taken back."""
    said = re.match(r"^[0-9A-Za-z][0-9A-Za-z_-]*(\.[0-9A-Za-z_-]+)*$", name)
    assert is_version_name(name) == (said is not None and not name.endswith("\n") and len(name) <= 64)


@given(st.text())
def test_a_quoted_text_is_short_and_has_no_line_break(text: str) -> None:
    line = quoted(text)
    assert line.isprintable()
    assert len(line) <= 10 * 65 + 2
