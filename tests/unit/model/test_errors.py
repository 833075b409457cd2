"""The errors of the model: the tree in the docstring is the tree of the classes, and a refusal has its reason."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from model import errors
from model.errors import NextactError, RefusalReason, VersionRefused


def defined() -> dict[str, type[NextactError]]:
    return {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, NextactError)
    }


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    assert errors.__doc__ is not None
    assert set(re.findall(r"[├└]── (\w+)", errors.__doc__)) == defined().keys() - {"NextactError"}


@pytest.mark.parametrize("kind", defined().values())
def test_an_error_of_ours_is_caught_by_the_root_and_ends_a_command_with_1(kind: type[NextactError]) -> None:
    assert issubclass(kind, NextactError)
    assert kind.exit_code == 1


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_a_refusal_has_a_reason_and_a_message(reason: RefusalReason) -> None:
    refusal = VersionRefused(reason, "v1 cannot serve")
    assert (refusal.reason, str(refusal)) == (reason, "v1 cannot serve")
    assert re.fullmatch("[a-z_]+", reason)  # it is the value of a metric's label
