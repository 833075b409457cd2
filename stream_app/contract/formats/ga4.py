"""Reads GA4's events: requests of its measurement protocol, and rows of its export to BigQuery.

Requests: https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference; parameters of events:
https://developers.google.com/analytics/devguides/collection/ga4/reference/events; rows:
https://support.google.com/analytics/answer/7029846, whose whole numbers BigQuery writes into JSON as texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from model.data.events import Event
from model.items.item import CATEGORY_SEPARATOR
from stream_app.contract.decoded import Contents, RejectedRecord, ShownList
from stream_app.contract.event_fields import decode_as, decode_part, milliseconds
from stream_app.contract.event_names import GA4_IGNORED_NAMES
from stream_app.contract.formats.fields import (
    NOT_SET,
    Number,
    Text,
    id_of,
    number_of,
    price_of,
    text_of,
    unknown_name,
    user_of,
)
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.formats.shape import Shape


class Item(msgspec.Struct, frozen=True, gc=False):
    """An item of an event."""

    item_id: Text = None
    item_name: Text = None  # GA4 asks for one of the two
    item_brand: str | None = None
    item_category: str | None = None
    item_category2: str | None = None
    item_category3: str | None = None
    item_category4: str | None = None
    item_category5: str | None = None
    item_list_id: Text = None
    item_list_name: Text = None
    price: Number = None
    quantity: Number = None
    currency: str | None = None


class Parameters(msgspec.Struct, frozen=True, gc=False):
    """What an event says, in a request."""

    items: list[Item] | None = None
    currency: str | None = None
    search_term: Text = None
    transaction_id: Text = None
    session_id: Text = None
    item_list_id: Text = None
    item_list_name: Text = None
    market: str | None = None  # a parameter of the shop's own
    prediction_id: str | None = None  # a parameter of the shop's own


class RequestEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of a request; its parameters are read only if it matters."""

    name: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    timestamp_micros: Number = None


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request of the measurement protocol."""

    events: list[RequestEvent]
    client_id: Text = None  # of a browser
    app_instance_id: Text = None  # of an app
    user_id: Text = None
    timestamp_micros: Number = None


class RowParameter(msgspec.Struct, frozen=True, gc=False):
    """A parameter of an event, in a row; its value is read only if it matters."""

    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class RowValue(msgspec.Struct, frozen=True, gc=False):
    """The value of a parameter, in the field of its type."""

    string_value: str | None = None
    int_value: Text = None

    @property
    def text(self) -> str | None:
        """The value as text; None: it is of another type, or not set."""
        return text_of(self.int_value if self.string_value is None else self.string_value)


class RowSales(msgspec.Struct, frozen=True, gc=False):
    """What a row says of the whole purchase."""

    transaction_id: Text = None


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of the export."""

    event_timestamp: Number = None  # microseconds
    user_id: Text = None
    user_pseudo_id: Text = None
    event_params: list[RowParameter] | None = None
    items: list[Item] | None = None
    ecommerce: RowSales | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """One event of a record that is to be taken in."""

    name: str
    meaning: str  # one of EVENT_TYPES, or `shown`
    time: int  # milliseconds since the epoch
    parameters: Parameters


_REQUEST: Final = msgspec.json.Decoder(Request)
_PARAMETERS: Final = msgspec.json.Decoder(Parameters | None)
_ROW: Final = msgspec.json.Decoder(Row)
_ROW_VALUE: Final = msgspec.json.Decoder(RowValue | None)
_ROW_PARAMETERS: Final = {
    "currency": "currency",
    "search_term": "search_term",
    "transaction_id": "transaction_id",
    "ga_session_id": "session_id",
    "item_list_id": "item_list_id",
    "item_list_name": "item_list_name",
    "market": "market",
    "prediction_id": "prediction_id",
}


def decode_ga4(shape: Shape, key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    """Returns what a request or a row says. Raises `RejectedRecord`."""
    if shape.is_ga4_request:
        return _request(key, value, record_time, options)
    if isinstance(shape.event_name, str):
        return _row(shape.event_name, key, value, record_time, options)
    raise RejectedRecord("missing_field", "the record has neither events, as a list, nor event_name")


def _request(key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    """Returns what all events of a request say; one that is wrong rejects the request."""
    request = decode_as(_REQUEST, value)
    if not request.events:
        raise RejectedRecord("missing_field", "the list of events is empty")
    said, ignored = [], []
    for event in request.events:
        meaning = _meaning(event.name, options)
        if meaning == "ignored":
            ignored.append(event.name.casefold())
            continue
        micros = request.timestamp_micros if event.timestamp_micros is None else event.timestamp_micros
        parameters = decode_part(_PARAMETERS, event.params) or Parameters()
        said.append(Said(event.name, meaning, _time_of(micros, record_time), parameters))
    if not said:
        return Contents(ignored=ignored)
    user = user_of(key, request.client_id, request.user_id, request.app_instance_id)
    return _contents(user, said, ignored, record_time)


def _row(name: str, key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    meaning = _meaning(name, options)
    if meaning == "ignored":
        return Contents(ignored=(name.casefold(),))
    row = decode_as(_ROW, value)
    user = user_of(key, row.user_pseudo_id, row.user_id)
    said = Said(name, meaning, _time_of(row.event_timestamp, record_time), _parameters_of(row))
    return _contents(user, (said,), [], record_time)


def _parameters_of(row: Row) -> Parameters:
    found: dict[str, str | None] = {}
    for parameter in row.event_params or ():
        field = _ROW_PARAMETERS.get(parameter.key)
        if field is not None and (value := decode_part(_ROW_VALUE, parameter.value)) is not None:
            found[field] = value.text
    if row.ecommerce is not None and text_of(row.ecommerce.transaction_id) is not None:
        found["transaction_id"] = text_of(row.ecommerce.transaction_id)
    return Parameters(items=row.items, **found)


def _meaning(name: str, options: DecodeOptions) -> str:
    meaning = options.meaning(name)
    if meaning is None or meaning == "identify":
        raise unknown_name(name)
    return "ignored" if meaning == "click" and name.casefold() in GA4_IGNORED_NAMES else meaning


def _contents(user: str, said: Sequence[Said], ignored: list[str], record_time: int) -> Contents:
    """Returns the actions and lists of a record under the id of its purchase: a repeated purchase repeats it all."""
    event_id = None
    for one in said:
        if one.meaning == "purchase" and event_id is None:
            event_id = text_of(one.parameters.transaction_id)
    actions: list[Event] = []
    times: list[int] = []
    shown: list[ShownList] = []
    for one in said:
        if one.meaning != "shown":
            found = _actions(user, one, event_id)
            actions += found
            times += [one.time] * len(found)
        elif one.parameters.items:
            shown.append(_shown(user, one, record_time))
        else:
            ignored.append(one.name.casefold())
    return Contents(actions, times, ignored, shown)


def _actions(user: str, said: Said, event_id: str | None) -> Sequence[Event]:
    parameters, kind = said.parameters, said.meaning
    session = text_of(parameters.session_id)
    if kind == "search":
        query = text_of(parameters.search_term)
        if query is None:
            raise RejectedRecord("missing_field", f"a {said.name[:64]} has no search_term")
        return (Event(user, kind, None, query, None, event_id, session, market=parameters.market),)
    if not parameters.items:
        raise RejectedRecord("missing_field", f"a {said.name[:64]} has no items")
    return [
        Event(
            user, kind, _item_of(item), None, None, event_id, session,
            _category_of(item),
            None if item.item_brand in NOT_SET else item.item_brand,
            item.currency or parameters.currency,
            price_of(item.price),
            number_of(item.quantity, "quantity"),
            parameters.market,
        )
        for item in parameters.items
    ]  # fmt: skip


def _category_of(item: Item) -> str | None:
    """Returns the path of an item's categories, written as the catalogue's are."""
    if item.item_category2 is None:
        return None if item.item_category in NOT_SET else item.item_category
    levels = (item.item_category, item.item_category2, item.item_category3, item.item_category4, item.item_category5)
    return CATEGORY_SEPARATOR.join([level for level in levels if level is not None and level not in NOT_SET]) or None


def _item_of(item: Item) -> str:
    found = id_of(item.item_id, "item_id") or id_of(item.item_name, "item_name")
    if found is None:
        raise RejectedRecord("missing_field", "an item has neither item_id nor item_name")
    return found


def _shown(user: str, said: Said, record_time: int) -> ShownList:
    parameters = said.parameters
    items = parameters.items or []
    return ShownList(
        user_id=user,
        items=[_item_of(item) for item in items],
        time=said.time,
        record_time=record_time,
        prediction_id=parameters.prediction_id,
        slate=_list_of(parameters) or _list_of(items[0]),
        session_id=text_of(parameters.session_id),
        market=parameters.market,
    )


def _list_of(said: Parameters | Item) -> str | None:
    return text_of(said.item_list_id) or text_of(said.item_list_name)


def _time_of(micros: Number, record_time: int) -> int:
    if isinstance(micros, float):
        return milliseconds(micros / 1000)
    try:
        time = number_of(micros, "the time in microseconds")
    except RejectedRecord as rejection:
        raise RejectedRecord("invalid_timestamp", str(rejection)) from None
    return record_time if time is None else milliseconds(time / 1000)
