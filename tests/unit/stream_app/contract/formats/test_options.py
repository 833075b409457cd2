"""What the settings tell a decoder: the format, and more names to pass over."""

from __future__ import annotations

import json

import pytest

from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.errors import SettingsInvalid
from stream_app.settings import Settings
from tests.unit.builders.basics import make_record

DEFAULTS = Settings.model_construct()  # not from the environment


def options(**settings: object) -> DecodeOptions:
    return DecodeOptions.of(DEFAULTS.model_copy(update=settings))


def test_defaults_are_those_of_the_settings() -> None:
    assert options() == DecodeOptions()


@pytest.mark.parametrize("name", ["newsletter_opened", "Newsletter Opened", "NEWSLETTER opened"])
def test_more_names_are_ignored(name: str) -> None:
    told = options(ignored_events=" newsletter_opened,,Newsletter Opened ")
    record = make_record(json.dumps({"user_id": "u", "type": name}).encode())
    batch = decode_batch([record, record], options=told)
    assert batch.ignored == [name.casefold()] * 2
    assert [rejection.reason for rejection in decode_batch([record]).rejected] == ["unknown_type"]


@pytest.mark.parametrize("name", ["view", "Product Viewed", "shown", "identify"])
def test_what_is_understood_cannot_be_ignored(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"NEXTACT_IGNORED_EVENTS names '{name.casefold()}'"):
        options(ignored_events=f"scroll,{name}")


def test_names_that_are_ignored_anyway_may_be_named() -> None:
    assert options(ignored_events="scroll") == DecodeOptions()


def test_a_call_to_segment_is_read_though_its_kind_is_ignored_in_nextacts_own() -> None:
    told = options(ignored_events="track")
    call = {"type": "track", "userId": "u", "event": "Product Viewed", "properties": {"sku": "a"}, "user_id": "u"}
    own = {"type": "track", "user_id": "u"}
    batch = decode_batch([make_record(json.dumps(one).encode()) for one in (own, call, own)], options=told)
    assert ([event.type for event in batch.events], batch.ignored) == (["view"], ["track", "track"])
