"""Decodes records of the items topic as the contract has them, or says why a record is not an item.

A record is JSON with the fields of `ItemRecord`, its key the item's id; without a value it takes the item away. A
table of a database comes as Debezium writes it: an envelope with `op` and `after`, also within Kafka Connect's `schema`
and `payload`, its key an object whose only field is the id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from model.data.events import ID_LENGTH, Price
from model.items.item import CATEGORY_SEPARATOR, Item, Offer
from stream_app.contract.decoded import Reason, RejectedRecord
from stream_app.contract.event_fields import DECODE_ERRORS, fields_of, milliseconds
from stream_app.contract.events import LARGEST_EVENT

LARGEST_ITEM: Final = LARGEST_EVENT  # bytes of a record's value
TITLE_LENGTH: Final = 1024  # characters, at most
URL_LENGTH: Final = 4096
MOST_LEVELS: Final = 16  # of a category
MOST_TAGS: Final = 64
MOST_MARKETS: Final = 300

ITEM_REASONS: Final[tuple[Reason, ...]] = (  # why a record is not an item
    "missing_key", "invalid_key", "empty", "too_large", "not_utf8", "not_json", "not_object", "missing_field",
    "invalid_field", "too_long", "invalid_timestamp", "unreadable",
)  # fmt: skip

T = TypeVar("T")
Word = Annotated[str, msgspec.Meta(max_length=ID_LENGTH)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
Title = Annotated[str, msgspec.Meta(max_length=TITLE_LENGTH)]
Path = Annotated[str, msgspec.Meta(max_length=MOST_LEVELS * ID_LENGTH)]
Levels = Annotated[list[Name], msgspec.Meta(max_length=MOST_LEVELS)]
Tags = Annotated[list[Name], msgspec.Meta(max_length=MOST_TAGS)]
Url = Annotated[str, msgspec.Meta(max_length=URL_LENGTH)]
_ABSENT: Final = msgspec.Raw(b"")


class MarketRecord(msgspec.Struct, frozen=True, gc=False):
    """What holds of an item in one market."""

    price: Price | None = None
    currency: Word | None = None
    available: bool | int | None = None
    stock: float | None = None


Markets = Annotated[dict[Name, MarketRecord], msgspec.Meta(max_length=MOST_MARKETS)]


class ItemRecord(msgspec.Struct, frozen=True, gc=False):
    """One item as published to the items topic; unknown fields are ignored."""

    title: Title | None = None
    category: Path | Levels | None = None
    brand: Word | None = None
    group: Word | None = None
    price: Price | None = None
    currency: Word | None = None
    available: bool | int | None = None
    stock: float | None = None
    markets: Markets | str | None = None
    url: Url | None = None
    image_url: Url | None = None
    tags: Tags | str | None = None
    attributes: dict[str, Any] | str | None = None
    released: str | int | float | None = None


class _Value(ItemRecord, frozen=True, gc=False):
    """A record's value: an item, or an envelope around one."""

    payload: msgspec.Raw = _ABSENT  # of Kafka Connect's JSON, beside `schema`
    schema: msgspec.Raw = _ABSENT
    op: str | None = None  # of Debezium's envelope, beside `before` or `after`
    before: msgspec.Raw = _ABSENT
    after: msgspec.Raw = _ABSENT

    @property
    def is_envelope(self) -> bool:
        """Whether Debezium has made it."""
        return self.op is not None and bool(self.before or self.after)


class ItemDetails(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What stays on disk of an item."""

    url: str = ""
    image_url: str = ""
    attributes: dict[str, Any] = {}


class ItemChange(NamedTuple):
    """What a record says."""

    item_id: str
    item: Item | None  # None: the item is taken away
    details: bytes = b""  # JSON of `ItemDetails`; empty: there are none


_VALUES: Final = msgspec.json.Decoder(_Value)
_MARKETS: Final = msgspec.json.Decoder(Markets)
_TAGS: Final = msgspec.json.Decoder(Tags)
_ATTRIBUTES: Final = msgspec.json.Decoder(dict[str, Any])
_DETAILS: Final = msgspec.json.Decoder(ItemDetails)


def decode_item(key: bytes | None, value: bytes | None) -> ItemChange:
    """Returns what a record says of an item; guesses nothing. Raises `RejectedRecord`."""
    item_id = item_id_of(key)
    if value is None:
        return ItemChange(item_id, None)
    if not value:
        raise RejectedRecord("empty", "the value is empty: a record that takes an item away has none at all")
    if len(value) > LARGEST_ITEM:
        raise RejectedRecord("too_large", f"the value has {len(value)} bytes, more than {LARGEST_ITEM}")
    record = _record_in(value)
    return ItemChange(item_id, None) if record is None else _change(item_id, record)


def decode_details(details: bytes) -> ItemDetails:
    """Decodes the details of a change."""
    return _DETAILS.decode(details) if details else ItemDetails()


def item_id_of(key: bytes | None) -> str:
    """Returns the id in a record's key: the key itself in UTF-8, or the only field of a JSON object.

    Raises `RejectedRecord`.
    """
    if not key:
        raise RejectedRecord("missing_key", "the record has no key; it must be the item's id")
    try:
        text = key.decode()
    except UnicodeDecodeError as mistake:
        raise RejectedRecord("not_utf8", f"byte {mistake.start} of the key is not UTF-8") from None
    if text.startswith("{"):
        text = _only_field(text)
    if len(text) > ID_LENGTH:
        raise RejectedRecord("too_long", f"the item's id has more than {ID_LENGTH} characters")
    return text


def _only_field(text: str) -> str:
    """Returns the id in a key that a connector has written."""
    try:
        fields = msgspec.json.decode(text)
    except DECODE_ERRORS:
        fields = None
    if isinstance(fields, dict) and fields.keys() == {"schema", "payload"}:
        fields = fields["payload"]
    if isinstance(fields, dict) and len(fields) == 1:
        (fields,) = fields.values()
    if isinstance(fields, bool) or not isinstance(fields, str | int) or fields == "":
        raise RejectedRecord(
            "invalid_key", f"the key {text[:64]!r} begins like JSON, but is no object whose only field is an item's id"
        )
    return str(fields)


def _record_in(value: bytes) -> ItemRecord | None:
    """Returns the item of a value, without what is around it; None: it is deleted."""
    record = _decoded(value)
    if record.payload and record.schema:
        record = _decoded(record.payload)
    if not record.is_envelope:
        return record
    if record.op == "d" or bytes(record.after) == b"null":
        return None
    if not record.after:
        raise RejectedRecord("missing_field", f"the envelope of op {str(record.op)[:16]!r} has no `after`")
    return _decoded(record.after)


def _decoded(value: bytes | msgspec.Raw) -> _Value:
    try:
        return _VALUES.decode(value)
    except DECODE_ERRORS as error:
        raise _undecodable(bytes(value), error) from None


def _change(item_id: str, record: ItemRecord) -> ItemChange:
    item = Item(
        item_id=item_id,
        title=record.title or "",
        category=_levels(record.category) if record.category else (),
        brand=record.brand or "",
        group=record.group or "",
        price=_finite("price", record.price),
        currency=record.currency or "",
        available=_flag(record.available),
        stock=_finite("stock", record.stock),
        tags=_tags(record.tags) if record.tags else (),
        released=None if record.released is None else _time(record.released),
        markets=_offers(record.markets) if record.markets else {},
    )
    return ItemChange(item_id, item, _details(record))


def _levels(category: str | Sequence[str]) -> tuple[str, ...]:
    levels = tuple([level.strip() for level in (category.split(">") if isinstance(category, str) else category)])
    if not any(levels):
        return ()
    if not all(levels):
        raise RejectedRecord("invalid_field", f"category has an empty level: {CATEGORY_SEPARATOR.join(levels)[:64]!r}")
    if len(levels) > MOST_LEVELS or max(map(len, levels)) > ID_LENGTH:
        raise RejectedRecord("too_long", f"category has more than {MOST_LEVELS} levels, or {ID_LENGTH} characters")
    return levels


def _tags(tags: list[str] | str) -> tuple[str, ...]:
    parsed: list[str] = _parsed("tags", tags, _TAGS)
    return tuple(parsed)


def _offers(markets: dict[str, MarketRecord] | str) -> dict[str, Offer]:
    return {
        name: Offer(
            price=_finite(f"price in {name}", market.price),
            currency=market.currency or "",
            available=Item("", available=_flag(market.available), stock=_finite("stock", market.stock)).is_available,
        )
        for name, market in _parsed("markets", markets, _MARKETS).items()
    }


def _details(record: ItemRecord) -> bytes:
    attributes = _parsed("attributes", record.attributes, _ATTRIBUTES) if record.attributes else {}
    if not (record.url or record.image_url or attributes):
        return b""
    return msgspec.json.encode(ItemDetails(record.url or "", record.image_url or "", attributes))


def _parsed(name: str, value: T | str, decoder: msgspec.json.Decoder[T]) -> T:
    """Returns a value that a database or a table may also give as JSON in a text."""
    if not isinstance(value, str):
        return value
    try:
        return decoder.decode(value)
    except DECODE_ERRORS as error:
        raise _wrong(f"{name}, a text, is not the JSON that it should be: {error}") from None


def _flag(value: bool | int | None) -> bool | None:
    """Returns a flag, which databases may have as 0 or 1."""
    if value is None or isinstance(value, bool) or value in (0, 1):
        return None if value is None else bool(value)
    raise RejectedRecord("invalid_field", f"available is {value}, not true or false")


def _time(released: str | int | float) -> int:
    try:
        return milliseconds(released)
    except RejectedRecord as error:
        raise RejectedRecord(error.reason, f"released: {error}") from None


def _finite(name: str, number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise RejectedRecord("invalid_field", f"{name} is {number}, not a finite number")
    return number


def _undecodable(value: bytes, error: Exception) -> RejectedRecord:
    """Returns the reason behind a decoding error of an item."""
    try:
        fields_of(value, error)
    except RejectedRecord as rejection:
        return rejection
    return _wrong(str(error))


def _wrong(message: str) -> RejectedRecord:
    return RejectedRecord("too_long" if "of length <=" in message else "invalid_field", message)
