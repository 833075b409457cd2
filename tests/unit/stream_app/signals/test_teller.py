"""Whether signals are told, and what changes with the audiences."""

from __future__ import annotations

from typing import Any

import pytest

from model.profile.audiences import Audience
from stream_app.settings import load_settings
from stream_app.signals.teller import Teller, tells_signals

ON = {"signals_topic": "shop.signals"}


def test_records_of_the_previous_format_have_no_timers(caplog: pytest.LogCaptureFixture) -> None:
    assert not tells_signals(load_settings())
    assert tells_signals(load_settings(ON))
    assert not tells_signals(load_settings({**ON, "write_format": "previous"}))
    assert "no signals are told" in caplog.text


def test_new_audiences_are_judged_by_and_everybody_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    teller = Teller(load_settings(ON), users=nothing, take=nothing, fail=nothing)
    found: list[bool] = []
    monkeypatch.setattr(teller.timers, "find_again", lambda: found.append(True))
    audiences = {"carts": Audience(cart_open=True)}
    teller._audiences._changed(audiences)
    assert teller.writer.audiences is audiences
    assert found == [True]
