"""Who promotes: a trainer by its instance, an operator by user and host."""

from __future__ import annotations

import os
import socket

import pytest

from stream_app.settings import Settings
from stream_app.versions import promoter as promoters
from stream_app.versions.promoter import promoter


def test_a_trainer_is_known_by_its_instance_else_by_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-7")
    assert promoter(Settings(), "trainer") == "trainer pod-7"
    assert promoter(Settings(instance_id="shop-trainer-0"), "trainer") == "trainer shop-trainer-0"


def test_an_operator_is_known_by_user_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    monkeypatch.setattr(promoters, "_user", lambda: "alice")
    assert promoter(Settings(), "operator") == "operator alice@laptop"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert promoters._user() == "user 2147483641"
