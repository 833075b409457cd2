"""Writes down what maps to what: the formats of events as tables, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from model.data.events import EVENT_TYPES
from stream_app.contract.event_names import (
    GA4_IGNORED_NAMES,
    IDENTITY_NAMES,
    IGNORED_NAMES,
    SHOWN_NAMES,
    TYPE_NAMES,
)

FORMATS: Final = ("nextact", "Segment", "GA4, request", "GA4, exported row", "UBI")

# Which field each comes from, by format; "" where the format has none. A test compares them with what is read.
FIELDS: Final[Sequence[tuple[str, ...]]] = (
    ("user", "`user_id`", "`userId`, `anonymousId`", "`client_id`, `user_id`, `app_instance_id`",
     "`user_pseudo_id`, `user_id`", "`client_id`, `user_id`"),
    ("what happened", "`type`", "`type`, of a track call `event`", "`events[].name`", "`event_name`", "`action_name`"),
    ("time", "`timestamp`", "`timestamp`, else `originalTimestamp`",
     "`events[].timestamp_micros`, else `timestamp_micros`", "`event_timestamp`", "`timestamp`"),
    ("event id", "`event_id`", "`messageId`", "of a purchase, for the whole request: `params.transaction_id`",
     "of a purchase: `ecommerce.transaction_id`, else parameter `transaction_id`", ""),
    ("session", "`session_id`", "", "`params.session_id`", "parameter `ga_session_id`", "`session_id`"),
    ("items", "`item_id`, or `items` for several", "`properties`, or `properties.products` for several",
     "`params.items`", "`items`", "`event_attributes.object`"),
    ("item's id", "`item_id`", "`product_id`, else `sku`", "`item_id`, else `item_name`",
     "`item_id`, else `item_name`", "`object_id`"),
    ("words of a search", "`query`", "`properties.query`", "`params.search_term`", "parameter `search_term`",
     "`user_query`, else `message`"),
    ("price, quantity", "`price`, `quantity`", "`price`, `quantity`", "`price`, `quantity`", "`price`, `quantity`", ""),
    ("currency", "`currency` of the item, else of the event", "`currency` of the product, else of `properties`",
     "`currency` of the item, else of `params`", "`currency` of the item, else the parameter", ""),
    ("brand", "`brand`", "`brand`", "`item_brand`", "`item_brand`", ""),
    ("category", "`category`", "`category`",
     "`item_category`, `item_category2`, `item_category3`, `item_category4`, `item_category5` as a path: `a > b > c`",
     "the same", ""),
    ("market", "`market`", "`properties.market` (a property of your own)", "`params.market` (your own)",
     "parameter `market` (your own)", "`event_attributes.market` (your own)"),
    ("list that was shown: slate", "`slate`", "`list_id`, else `category`, of `properties`",
     "`item_list_id`, else `item_list_name`, of `params`, else of the first item",
     "the same parameters, else of the first item", "`application`"),
    ("list that was shown: prediction", "`prediction_id`", "`properties.prediction_id` (your own)",
     "`params.prediction_id` (your own)", "parameter `prediction_id` (your own)",
     "`event_attributes.prediction_id` (your own)"),
    ("identity", "`user_id`, `anonymous_id`", "identify: `userId`, `anonymousId`; alias: `userId`, `previousId`", "",
     "", ""),
)  # fmt: skip

_OPENING: Final = """# Formats of events

Written by `nextact schema --write`; change the code instead.

`NEXTACT_EVENT_FORMAT` is `auto`, `nextact`, `segment`, `ga4` or `ubi`; a fixed format takes only that one. With `auto`
each record shows its own, by the first of these that holds:

1. `type` is `track`, `page`, `screen`, `identify`, `alias` or `group`, and there is a `userId` or `anonymousId`: a call
   of [Segment](https://segment.com/docs/connections/spec/).
2. `type` is a name that is known, and there is a `user_id`: nextact's own, whatever else the record has.
3. `events` is a list: a request of GA4's
   [measurement protocol](https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference).
4. There is an `event_name`: a row of GA4's [export to BigQuery](https://support.google.com/analytics/answer/7029846).
5. There is an `action_name`: an event of
   [User Behavior Insights](https://o19s.github.io/ubi/schema/1.3.0/event.schema.json) (UBI).
6. Else it is nextact's own.

## Rules

- The user is whichever of the record's ids the record key is; if none is, the record is a dead letter (`key_mismatch`).
  An event with two ids is the key's; only identities join two users.
- A record is taken whole or not at all. One of several actions gets one prediction, after its last action.
- An event whose name is ignored is counted (`nextact_ignored_events_total`) and passed over, whatever its fields and
  its key are. `NEXTACT_IGNORED_EVENTS` names more. A name that nobody knows makes the record a dead letter
  (`unknown_type`), also when it is one of several in a GA4 request.
- An action without an item, or a search without words, is a dead letter (`missing_field`). A list without items and an
  identity of one id say nothing, and are ignored.
- In the formats of others ids may be whole numbers, and prices and quantities may be texts that are numbers; what is
  empty or `(not set)` counts as not said. In nextact's own, ids are texts and prices numbers.
- Times are RFC 3339 with an offset from UTC, or milliseconds since 1970; GA4's are microseconds. Without one, the
  record's own timestamp holds.
"""


def formats_table() -> str:
    """Returns the formats as Markdown."""
    fields = _table(("", *FORMATS), FIELDS)
    meanings = [(kind, _names(name for name, of in TYPE_NAMES.items() if of == kind)) for kind in EVENT_TYPES]
    meanings += [
        ("what was shown (no prediction)", _names(SHOWN_NAMES)),
        ("an identity (no prediction)", _names(IDENTITY_NAMES)),
        ("ignored", _names(IGNORED_NAMES)),
        ("ignored in GA4's formats alone: a click on a link that leads away", _names(GA4_IGNORED_NAMES)),
    ]
    names = _table(("meaning", "names, in any case of letters, the same in all formats"), meanings)
    return f"{_OPENING}\n## Fields\n\n{fields}\n\n## Names\n\n{names}\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
