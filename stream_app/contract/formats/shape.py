"""The fields by which a record shows in which format it is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_app.contract.event_fields import decode_as

_LIST: Final = ord("[")
SEGMENT_CALLS: Final = ("track", "page", "screen", "identify", "alias", "group")


class Shape(msgspec.Struct, frozen=True, gc=False):
    """What tells of which format and kind a record is, of any JSON type."""

    type: Any = None
    user_id: Any = None
    events: msgspec.Raw = msgspec.Raw(b"null")
    event_name: Any = None
    action_name: Any = None
    user: Any = msgspec.field(default=None, name="userId")
    anonymous: Any = msgspec.field(default=None, name="anonymousId")
    event: Any = None  # the name of what a Segment call tracks

    @property
    def is_ga4_request(self) -> bool:
        """Whether it is a request of GA4's measurement protocol: its events are a list."""
        return memoryview(self.events)[0] == _LIST

    @property
    def is_segment_call(self) -> bool:
        """Whether it is a call to Segment, whose spec has one of the two ids in each."""
        return self.type in SEGMENT_CALLS and not (self.user is None and self.anonymous is None)


_DECODER: Final = msgspec.json.Decoder(Shape)


def shape_of(value: bytes) -> Shape:
    """Returns the shape of a record's value. Raises `RejectedRecord` when it is not a JSON object."""
    return decode_as(_DECODER, value)
