"""Reads what a prediction says of its user, for the audiences that ask for it."""

from __future__ import annotations

from typing import Final

import msgspec

from model.profile.audiences import Audiences, SaidOfUser, fitting
from stream_app.contract.predictions import Preferences, Segment
from stream_app.contract.string_columns import Strings


class _ProfileFields(msgspec.Struct, gc=False):
    """The fields of a prediction that audiences can ask for."""

    segment: Segment | None = None
    leave_probability: float | None = None
    return_probability: float | None = None
    preferences: Preferences | None = None


_DECODER: Final = msgspec.json.Decoder(_ProfileFields)


def fitting_audiences(audiences: Audiences, predictions: Strings, index: int) -> list[str]:
    """Returns the audiences whose conditions on what a prediction says hold; `index` is the prediction's."""
    text, starts = predictions
    fields = _DECODER.decode(text[starts[index] : starts[index + 1]].tobytes())
    liked = fields.preferences or Preferences()
    said = SaidOfUser(
        segment=None if fields.segment is None else (fields.segment.id, fields.segment.name),
        leave=fields.leave_probability,
        returns=fields.return_probability,
        categories={one.name: one.share for one in liked.categories},
        brands={one.name: one.share for one in liked.brands},
    )
    return fitting(audiences, said)
