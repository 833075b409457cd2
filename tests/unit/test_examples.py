"""The examples for other languages publish events of the contract; whoever changes one runs it against a broker."""

from __future__ import annotations

import re

import msgspec

from model.data.events import EVENT_TYPES, Event
from tests.paths import ROOT


def test_the_event_of_the_example_is_one_that_workers_take() -> None:
    text = (ROOT / "deploy" / "examples" / "publish.mjs").read_text(encoding="utf-8")
    (body,) = re.findall(r"const event = \{(.*?)\n\};", text, re.S)
    fields = dict(re.findall(r"^  (\w+): (.*?),(?: //.*)?$", body, re.M))
    assert fields.keys() <= set(Event.__struct_fields__)
    assert {field.name for field in msgspec.structs.fields(Event) if field.required} <= fields.keys()
    assert fields["type"].strip('"') in EVENT_TYPES
    assert "key: event.user_id" in text
    assert "Partitioners.DefaultPartitioner" in text, "murmur2, as Java's client"
