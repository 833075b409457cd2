"""Writes the contract as documents: JSON Schemas of event, item and prediction, an AsyncAPI document of the topics, an
OpenAPI document of the questions, and a table of the formats that events may have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Final

import msgspec

from model.data.events import EVENT_TYPES, ID_LENGTH, MOST_LINES, PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from stream_app.contract.dead_letters import HEADER_PREFIX, REPLAY_HEADER
from stream_app.contract.decoded import REASONS
from stream_app.contract.event_schema import EVENT_EXAMPLES, event_schema
from stream_app.contract.formats.table import formats_table
from stream_app.contract.item_schema import ITEM_EXAMPLES, item_schema
from stream_app.contract.json_schema import Json, standalone
from stream_app.contract.predictions import Prediction
from stream_app.contract.profiles.reason_words import WORDS
from stream_app.contract.profiles.user_profile import profile_schema
from stream_app.contract.questions.openapi import openapi
from stream_app.contract.signals.schema import signal_schema
from stream_app.contract.topics import topics
from stream_app.settings import Settings

_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-07"
_KAFKA_BINDING: Final = "0.5.0"
_PROBABILITY: Final = {"minimum": 0, "maximum": 1}
_NUMBER: Final = {"type": "string", "pattern": "^-?[0-9]+$"}  # as text, in a header

_PREDICTION_FIELDS: Final = {
    "prediction_id": "The same for the same event on every replay: deduplicate by it.",
    "user_id": "The event's user; also the record key.",
    "event_id": "The event's id, if it has one.",
    "event_type": "The event's type, by nextact's own name.",
    "event_timestamp": "The event's time as its publisher gave it, in milliseconds since 1970.",
    "source": "Where the event lies in the events topic.",
    "model_version": "The model version that made the prediction; `baseline` for the rules, before the first version.",
    "history_length": "The number of this user's actions so far, those of this event included; of one with several "
    f"items at most {MOST_LINES} count.",
    "next_type": "Probability of each type of the user's next event; the sum is 1.",
    "next_actions": "The most probable next actions, best first; a search has no item.",
    "recommendations": "Items worth showing, best first.",
    "purchase_probability": f"Probability of a purchase among the user's next {PURCHASE_HORIZON} events and within "
    f"{PURCHASE_WITHIN_MS // 60_000} minutes, calibrated.",
    "leave_probability": "Probability that the user does nothing more within 30 minutes, calibrated.",
    "return_probability": "Probability that the user comes back within 7 days of this visit's end, calibrated.",
    "preferences": "What the user likes: shares of categories and brands, the 3 largest of each, and a price band.",
    "segment": "The group of users whom the user is most like; fit, from 0 to 1, says how typical they are of it.",
    "reasons": "Why items are recommended, for the first few: what mattered most, with weights of at most 1 in sum. "
    "Words for the codes are in reasons.json; item_id is what the user had to do with.",
    "event_time_flag": "Left out when event_timestamp is in order; else why it was not relied on.",
}


_LATEST: Final = {
    "publishLatestPrediction": {
        "action": "send",
        "channel": {"$ref": "#/channels/latestPredictions"},
        "summary": "Each user's newest prediction of a batch; compacted, so that the topic is a table of users.",
    }
}
_PROFILES: Final = {
    "publishProfile": {
        "action": "send",
        "channel": {"$ref": "#/channels/profiles"},
        "summary": "What is said of a user, when it has changed enough to matter; the newest record of a user counts.",
    }
}
_SIGNALS: Final = {
    "publishSignal": {
        "action": "send",
        "channel": {"$ref": "#/channels/signals"},
        "summary": "What only silence tells of a user. At least once; deduplicate by signal_id.",
    }
}


def prediction_schema() -> Json:
    """Returns the schema of what a subscriber receives; later versions may add fields."""
    schema = standalone("prediction", msgspec.json.schema(Prediction), _PREDICTION_FIELDS)
    fields = schema["properties"]
    fields["prediction_id"]["format"] = "uuid"
    fields["event_type"]["enum"] = list(EVENT_TYPES)
    fields["history_length"]["minimum"] = 1
    fields["purchase_probability"] |= _PROBABILITY
    fields["next_type"]["propertyNames"] = {"enum": list(EVENT_TYPES)}
    fields["next_type"]["additionalProperties"] |= _PROBABILITY
    for name in ("partition", "offset"):
        fields["source"]["properties"][name]["minimum"] = 0
    action = fields["next_actions"]["items"]["properties"]
    action["type"]["enum"] = list(EVENT_TYPES)
    action["probability"] |= _PROBABILITY
    return schema


def asyncapi(settings: Settings) -> Json:
    """Returns topics, directions, keys and headers of this installation; refers to the two schemas beside it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "nextact",
            "version": version("nextact"),
            "description": "Predicts what each shopper does next. All publishers of events must use the partitioner "
            "of Kafka's Java client (murmur2); a prediction goes to the partition number its event came from.",
        },
        "defaultContentType": "application/json",
        "channels": _channels(settings),
        "operations": {
            "takeEvent": _operation(
                "receive",
                "events",
                "Every event is answered by a prediction, but for those that are no action: formats.md.",
            ),
            "publishPrediction": _operation("send", "predictions", "At least once; deduplicate by prediction_id."),
            "publishDeadLetter": _operation(
                "send", "deadLetters", "A record that is not an event, and why; see `nextact dead-letters list`."
            ),
            **(_LATEST if settings.predictions_latest_topic else {}),
            **(_PROFILES if settings.profile_topic else {}),
            **(_SIGNALS if settings.signals_topic else {}),
            "takeItem": _operation("receive", "items", "What the shop sells; the newest record of an item counts."),
            "replayDeadLetter": _operation(
                "send", "events", "The original record again, by hand, after a fix; see `nextact dead-letters replay`."
            ),
        },
        "components": {"messages": _messages(settings)},
    }


def documents(settings: Settings) -> dict[str, str]:
    """Returns the text of each document by its file name."""
    return {
        "event.schema.json": _json(event_schema()),
        "item.schema.json": _json(item_schema()),
        "prediction.schema.json": _json(prediction_schema()),
        "profile.schema.json": _json(profile_schema()),
        "signal.schema.json": _json(signal_schema()),
        "reasons.json": _json({language: msgspec.to_builtins(words) for language, words in WORDS.items()}),
        "openapi.json": _json(openapi()),
        "formats.md": formats_table(),
        "asyncapi.yaml": "# Written by `nextact schema --write`; change the code instead.\n"
        + "\n".join(_yaml(asyncapi(settings)))
        + "\n",
    }


def _channels(settings: Settings) -> Json:
    specs = {spec.name: spec for spec in topics(settings)}
    names = {
        "events": (settings.events_topic, "event"),
        "predictions": (settings.predictions_topic, "prediction"),
        "deadLetters": (settings.dead_letters_topic, "deadLetter"),
        "items": (settings.items_topic, "item"),
    }
    if settings.predictions_latest_topic:
        names["latestPredictions"] = settings.predictions_latest_topic, "prediction"
    if settings.profile_topic:
        names["profiles"] = settings.profile_topic, "profile"
    if settings.signals_topic:
        names["signals"] = settings.signals_topic, "signal"
    channels = {}
    for channel, (topic, message) in names.items():
        binding: Json = {"topic": topic, "partitions": specs[topic].partitions}
        if specs[topic].config:
            binding["topicConfiguration"] = _binding_config(specs[topic].config)
        channels[channel] = {
            "address": topic,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            "bindings": {"kafka": binding | {"bindingVersion": _KAFKA_BINDING}},
        }
    return channels


def _binding_config(config: dict[str, str]) -> Json:
    """Returns the configuration of a topic as the binding has it: policies as a list, sizes as numbers."""
    return {key: value.split(",") if key == "cleanup.policy" else int(value) for key, value in config.items()}


def _operation(action: str, channel: str, summary: str) -> Json:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _messages(settings: Settings) -> Json:
    signal = _message("Signal", "The key is the user_id.", "signal.schema.json")
    profile = _message("Profile", "The key is the user_id.", "profile.schema.json")
    return {
        **({"profile": profile} if settings.profile_topic else {}),
        **({"signal": signal} if settings.signals_topic else {}),
        "event": _message(
            "Event",
            "The key is the user_id. Events of GA4, Segment and UBI are taken as they are, too: formats.md.",
            "event.schema.json",
        )
        | {"headers": {"type": "object", "properties": _replay_headers()}}
        | {"examples": [{"name": example["type"], "payload": example} for example in EVENT_EXAMPLES]},
        "item": _message("Item", "The key is the item's id; without a value the item is gone.", "item.schema.json")
        | {"examples": [{"name": example["title"], "payload": example} for example in ITEM_EXAMPLES]},
        "prediction": _message("Prediction", "The key is the user_id.", "prediction.schema.json"),
        "deadLetter": {
            "title": "Dead letter",
            "summary": "Key, value and headers of the record as they were, and why it is not an event.",
            "contentType": "application/octet-stream",
            "headers": {"type": "object", "properties": _dead_letter_headers() | _replay_headers()},
        },
    }


def _message(title: str, summary: str, schema: str) -> Json:
    key = {"type": "string", "minLength": 1, "maxLength": ID_LENGTH}
    return {
        "title": title,
        "summary": summary,
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": schema}},
        "bindings": {"kafka": {"key": key, "bindingVersion": _KAFKA_BINDING}},
    }


def _dead_letter_headers() -> Json:
    """Returns the schemas of a dead letter's headers, whose values are text, also those of numbers."""
    numbers = ("partition", "offset", "timestamp")
    hashed = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    first = "The first offset of a batch that cannot be read, where `offset` is its last; else it is missing."
    cut = "Bytes of the {} before it was cut to what this topic takes; missing where it is whole."
    return {
        f"{HEADER_PREFIX}reason": {"type": "string", "enum": list(REASONS)},
        f"{HEADER_PREFIX}message": {"type": "string"},
        f"{HEADER_PREFIX}topic": {"type": "string"},
        **{HEADER_PREFIX + name: _NUMBER for name in numbers},
        f"{HEADER_PREFIX}version": {"type": "string"},
        f"{HEADER_PREFIX}first_offset": _NUMBER | {"description": first},
        f"{HEADER_PREFIX}value_bytes": _NUMBER | {"description": cut.format("value")},
        f"{HEADER_PREFIX}value_sha256": hashed | {"description": "SHA-256 of the whole value."},
        f"{HEADER_PREFIX}key_bytes": _NUMBER | {"description": cut.format("key")},
        f"{HEADER_PREFIX}key_sha256": hashed | {"description": "SHA-256 of the whole key."},
        f"{HEADER_PREFIX}headers_left_out": _NUMBER | {"description": "How many headers there was no room for."},
    }


def _replay_headers() -> Json:
    """Returns the schemas of the headers of replayed records, also of those that became dead letters once more."""
    return {
        REPLAY_HEADER: _NUMBER | {"description": "How often a replay has published it; a publisher leaves it out."},
        f"{REPLAY_HEADER}.partition": _NUMBER | {"description": "The partition of the dead letter that was replayed."},
        f"{REPLAY_HEADER}.offset": _NUMBER | {"description": "The offset of the dead letter that was replayed."},
    }


def _json(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _yaml(node: Any, indent: str = "") -> Iterator[str]:
    """Yields lines of YAML 1.2; keys and scalars are JSON, which YAML contains, so no library is needed."""
    entries = node.items() if isinstance(node, dict) else ((None, child) for child in node)
    for key, child in entries:
        lead = f"{indent}- " if key is None else f"{indent}{json.dumps(key) if '.' in key or '$' in key else key}: "
        if isinstance(child, dict | list) and child:
            yield lead.rstrip()
            yield from _yaml(child, indent + "  ")
        else:
            yield lead + json.dumps(child, ensure_ascii=False)
