"""What is said of a user beside what they will do next, as a record of its own, where it has a topic."""

from __future__ import annotations

from typing import Final

import msgspec

from stream_app.contract.json_schema import Json, standalone
from stream_app.contract.predictions import Prediction, Preferences, Segment

_FIELDS: Final = {
    "user_id": "Also the record key.",
    "event_timestamp": "Time of the event after which it was so, as its publisher gave it, in milliseconds since 1970.",
    "model_version": "The model version that says it; `baseline` for the rules, before the first version.",
    "leave_probability": "Probability that the user does nothing more within 30 minutes, calibrated.",
    "return_probability": "Probability that the user comes back within 7 days of this visit's end, calibrated.",
    "preferences": "What the user likes: shares of categories and brands, the 3 largest of each, and a price band.",
    "segment": "The group of users whom the user is most like; fit, from 0 to 1, says how typical they are of it.",
}


class UserProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's profile; a newer record of the user takes its place."""

    user_id: str
    event_timestamp: int  # milliseconds since the epoch
    model_version: str
    leave_probability: float | None = None
    return_probability: float | None = None
    preferences: Preferences | None = None
    segment: Segment | None = None


_DECODER: Final = msgspec.json.Decoder(UserProfile)


def profile_json(user_id: str, event_timestamp: int, model_version: str, fields: bytes) -> bytes:
    """Returns a profile's record; `fields` are those behind the version, each with a comma before it."""
    ids = msgspec.json.encode(user_id), msgspec.json.encode(model_version)
    return b'{"user_id":%b,"event_timestamp":%d,"model_version":%b%b}' % (ids[0], event_timestamp, ids[1], fields)


def decode_profile(value: bytes) -> UserProfile:
    """Decodes a profile's record; raises `msgspec.DecodeError` for anything else."""
    try:
        return _DECODER.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def with_profile(prediction: Prediction, profile: UserProfile) -> Prediction:
    """Returns a prediction with what a profile says of its user."""
    names = ("leave_probability", "return_probability", "preferences", "segment")
    return msgspec.structs.replace(prediction, **{name: getattr(profile, name) for name in names})


def profile_schema() -> Json:
    """Returns the schema of what a subscriber to the profiles receives; later versions may add fields."""
    schema = standalone("profile", msgspec.json.schema(UserProfile), _FIELDS)
    for name in ("leave_probability", "return_probability"):
        schema["properties"][name] |= {"minimum": 0, "maximum": 1}
    return schema
