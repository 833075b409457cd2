"""The errors: the tree in the docstring is the tree of the classes, and each class says what it is."""

from __future__ import annotations

import inspect
import re

import pytest

from model.errors import NextactError
from stream_app import errors

CLASSES: dict[str, type[NextactError]] = {
    name: error
    for name, error in vars(errors).items()
    if inspect.isclass(error) and issubclass(error, NextactError) and error.__module__ == errors.__name__
}


def drawn_parents() -> dict[str, str]:
    """Returns the parent of each class that the docstring draws."""
    branch = [NextactError.__name__]
    parents = {}
    for indent, name in re.findall(r"^([│├└─ ]+)(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        branch = [*branch[:depth], name]
        parents[name] = branch[depth - 1]
    return parents


def test_the_docstring_draws_every_error_below_its_parent() -> None:
    assert drawn_parents() == {name: error.__bases__[0].__name__ for name, error in CLASSES.items()}


def test_errors_are_drawn_in_the_order_of_the_tree() -> None:
    branches = list(drawn_parents().items())
    for position, (name, parent) in enumerate(branches):
        if parent != NextactError.__name__:
            assert parent in dict(branches[:position]), f"{name} is drawn before {parent}"


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_says_what_has_happened(name: str) -> None:
    assert re.match(r"[A-Z].*\.", CLASSES[name].__doc__ or "", re.DOTALL)


def test_exit_codes_tell_what_users_can_mend_from_what_ends_the_process() -> None:
    codes = {name: error.exit_code for name, error in CLASSES.items()}
    assert {name for name, code in codes.items() if code == 2} == {
        name for name, error in CLASSES.items() if issubclass(error, errors.UsageError)
    }
    assert {name for name, code in codes.items() if code == 70} == {
        name for name, error in CLASSES.items() if issubclass(error, errors.DataPathError)
    }
