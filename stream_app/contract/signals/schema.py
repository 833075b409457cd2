"""The JSON Schema of a signal."""

from __future__ import annotations

from typing import Final

import msgspec

from stream_app.contract.json_schema import Json, standalone
from stream_app.contract.signals.signal import Signal

_KINDS: Final = (
    "`visit_ended`: nothing came for so long (NEXTACT_VISIT_MINUTES); `cart_abandoned`: by then something was in a "
    "cart that changed in the visit; `purchase_expected`: a purchase was probable (NEXTACT_EXPECTED_PURCHASE), and "
    "none came; `audience_entered`, `audience_left`: the user belongs to an audience from now on, or no more."
)
_MEASURED_BY: Final = (
    "`clock`: the user was silent for so long by the clock; `stream`: by the times in the stream, as the worker was "
    "behind, or as the user's next event shows."
)
_VISIT: Final = "The user's newest visit: its number, from 1 on, its first and last action, and how many it had."
_FIELDS: Final = {
    "signal_id": "The same whenever the same is told again: deduplicate by it.",
    "kind": _KINDS,
    "user_id": "Also the record key.",
    "timestamp": "When it became so, in milliseconds since 1970, by the times of the user's events. "
    "Of an audience: when the user was judged, which is later where the same is told again.",
    "measured_by": _MEASURED_BY,
    "visit": _VISIT,
    "items": "What is in the cart, the newest last.",
    "audience": "The audience's name.",
    "purchase_probability": "The highest of the predictions since the last purchase in the visit.",
}


def signal_schema() -> Json:
    """Returns the schema of what a subscriber to the signals receives; later versions may add fields and kinds."""
    schema = standalone("signal", msgspec.json.schema(Signal), _FIELDS)
    schema["properties"]["signal_id"]["format"] = "uuid"
    return schema
