"""Reads records of all formats in plain Python, slowly: the oracle of what a record says that was taken.

It follows deploy/contract/formats.md and shares with the code only the names of events. Whether a record had to be
rejected is not its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.event_names import GA4_IGNORED_NAMES, MEANINGS

Said = dict[str, list[Any]]
SEGMENT = ("track", "page", "screen", "identify", "alias", "group")
ACTION_FIELDS = (
    "user_id", "type", "item_id", "event_id", "session_id", "category", "brand", "currency", "price", "quantity",
    "market",
)  # fmt: skip


def everything_said(batch: DecodedBatch) -> Said:
    """Returns what a decoded batch says, field by field."""
    return {
        "actions": [
            {name: getattr(event, name) for name in ACTION_FIELDS if name != "item_id" or event.type != "search"}
            | {"query": event.query if event.type == "search" else None, "time": time}
            for event, time in zip(batch.events, batch.times, strict=True)
        ],
        "ignored": list(batch.ignored),
        "shown": [
            (one.user_id, one.items, one.time, one.prediction_id, one.slate, one.event_id, one.session_id, one.market)
            for one in batch.shown
        ],
        "identities": [(one.user_id, one.anonymous_id, one.time, one.event_id) for one in batch.identities],
    }


class PlainReading:
    """What one record says."""

    def __init__(self, record: Mapping[str, Any], key: str, record_time: int) -> None:
        self.key, self.record_time = key, record_time
        self.says: Said = {"actions": [], "ignored": [], "shown": [], "identities": []}
        kind = record.get("type")
        if kind in SEGMENT and (record.get("userId") is not None or record.get("anonymousId") is not None):
            self.segment(record)
        elif record.get("user_id") is not None and isinstance(kind, str) and kind.casefold() in MEANINGS:
            self.own(record)
        elif isinstance(record.get("events"), list):
            self.ga4_request(record)
        elif record.get("event_name") is not None:
            self.ga4_row(record)
        elif record.get("action_name") is not None:
            self.ubi(record)
        else:
            self.own(record)

    def own(self, record: Mapping[str, Any]) -> None:
        kind = record["type"].casefold()
        meaning, time = MEANINGS[kind], self.time(record.get("timestamp"))
        if meaning == "ignored":
            self.says["ignored"].append(kind)
        elif meaning == "shown":
            items = [item if isinstance(item, str) else item["item_id"] for item in record["items"]]
            names = ("prediction_id", "slate", "event_id", "session_id", "market")
            self.shown(kind, items, time, *map(record.get, names))
        elif meaning == "identify":
            self.identity(kind, record["user_id"], record.get("anonymous_id"), time, record.get("event_id"))
        else:
            lines = [] if meaning == "search" else record.get("items") or []
            for line in lines or [record]:
                said = {name: line.get(name) for name in ("item_id", "category", "brand", "price", "quantity")}
                said |= {name: record.get(name) for name in ("query", "event_id", "session_id", "market")}
                currency = line.get("currency") if line is record else line.get("currency") or record.get("currency")
                self.action(meaning, time, said | {"currency": currency})

    def segment(self, record: Mapping[str, Any]) -> None:
        kind, properties = record["type"], record.get("properties") or {}
        stamp = record.get("timestamp")
        moment = record.get("originalTimestamp") if stamp is None else stamp
        event_id = record.get("messageId")
        if kind in ("page", "screen", "group"):
            self.says["ignored"].append(kind)
        elif kind in ("identify", "alias"):
            other = text(record.get("anonymousId" if kind == "identify" else "previousId"))
            self.identity(kind, text(record.get("userId")), other, lambda: self.time(moment), event_id)
        else:
            name = record["event"].casefold()
            meaning = MEANINGS[name]
            if meaning == "ignored":
                self.says["ignored"].append(name)
                return
            products = properties.get("products") or []
            if meaning == "shown":
                items = [product_id(product) for product in products]
                slate = text(properties.get("list_id")) or properties.get("category")
                prediction, market = properties.get("prediction_id"), properties.get("market")
                self.shown(name, items, self.time(moment), prediction, slate, event_id, None, market)
            else:
                for product in ([] if meaning == "search" else products) or [properties]:
                    plain = product if meaning != "search" else {}
                    currency = plain.get("currency") or (properties.get("currency") if meaning != "search" else None)
                    said = {name: plain.get(name) for name in ("category", "brand", "price", "quantity")}
                    said |= {"item_id": product_id(product), "currency": currency, "event_id": event_id}
                    said |= {"query": properties.get("query"), "market": properties.get("market")}
                    self.action(meaning, self.time(moment), said)

    def ga4_request(self, record: Mapping[str, Any]) -> None:
        events = [(one["name"], one.get("params") or {}, one.get("timestamp_micros")) for one in record["events"]]
        shared = record.get("timestamp_micros")
        self.ga4([(name, params, shared if micros is None else micros) for name, params, micros in events])

    def ga4_row(self, record: Mapping[str, Any]) -> None:
        name, params = record["event_name"], {}
        if not ignored_by_ga4(name):
            for one in record.get("event_params") or ():
                value = one.get("value")
                if isinstance(value, dict) and isinstance(one["key"], str):
                    string = value.get("string_value")
                    params[one["key"]] = value.get("int_value") if string is None else string
            params |= {"items": record.get("items"), "session_id": params.get("ga_session_id")}
            params["transaction_id"] = text((record.get("ecommerce") or {}).get("transaction_id")) or text(
                params.get("transaction_id")
            )
            params = {name: value if name == "items" else text(value) for name, value in params.items()}
        self.ga4([(name, params, record.get("event_timestamp"))])

    def ga4(self, events: Iterable[tuple[str, Mapping[str, Any], Any]]) -> None:
        events = list(events)
        bought = [text(params.get("transaction_id")) for name, params, _ in events if meaning_of(name) == "purchase"]
        event_id = next((one for one in bought if one), None)
        empty = []
        for name, params, micros in events:
            if ignored_by_ga4(name):
                self.says["ignored"].append(name.casefold())
                continue
            items, session, market = params.get("items") or [], text(params.get("session_id")), params.get("market")
            time = self.record_time if micros in (None, "") else round(float(micros) / 1000)
            if meaning_of(name) == "shown":
                if items:
                    lists = (params, items[0])
                    named = (text(of.get(name)) for of in lists for name in ("item_list_id", "item_list_name"))
                    slate = next((one for one in named if one), None)
                    ids, prediction = [item_id(item) for item in items], params.get("prediction_id")
                    self.shown(name, ids, time, prediction, slate, None, session, market)
                else:
                    empty.append(name.casefold())
                continue
            for item in [{}] if meaning_of(name) == "search" else items:
                path = [text(item.get(f"item_category{level}")) for level in ("", 2, 3, 4, 5)]
                if item.get("item_category2") is None:
                    path = path[:1]
                said = {
                    "item_id": item_id(item), "query": text(params.get("search_term")), "event_id": event_id,
                    "session_id": session, "category": " > ".join([one for one in path if one]) or None,
                    "brand": text(item.get("item_brand")), "price": item.get("price"), "quantity": item.get("quantity"),
                    "currency": (item.get("currency") or params.get("currency")) if item else None, "market": market,
                }  # fmt: skip
                self.action(meaning_of(name), time, said)
        self.says["ignored"] += empty

    def ubi(self, record: Mapping[str, Any]) -> None:
        name = record["action_name"].casefold()
        if MEANINGS[name] == "ignored":
            self.says["ignored"].append(name)
            return
        attributes, session = record.get("event_attributes") or {}, text(record.get("session_id"))
        item, market = text((attributes.get("object") or {}).get("object_id")), attributes.get("market")
        time = self.time(record.get("timestamp"))
        if MEANINGS[name] == "shown":
            prediction, slate = attributes.get("prediction_id"), record.get("application")
            self.shown(name, [item] if item else [], time, prediction, slate, None, session, market)
        else:
            query = record.get("message") if record.get("user_query") is None else record["user_query"]
            said = {"item_id": item, "query": query, "session_id": session, "market": market}
            self.action(MEANINGS[name], time, said)

    def action(self, kind: str, time: int, said: Mapping[str, Any]) -> None:
        action: dict[str, Any] = (
            dict.fromkeys(ACTION_FIELDS) | dict(said) | {"user_id": self.key, "type": kind, "time": time}
        )
        for name in ("price", "quantity"):
            action[name] = None if action[name] in (None, "") else float(action[name])
        if kind == "search":
            del action["item_id"]
        else:
            action["query"] = None
        self.says["actions"].append(action)

    def shown(self, name: str, items: list[Any], time: int, *rest: Any) -> None:
        if items:
            self.says["shown"].append((self.key, items, time, *rest))
        else:
            self.says["ignored"].append(name.casefold())

    def identity(self, kind: str, user: Any, other: Any, time: Any, event_id: Any) -> None:
        if user is None or other is None or user == other:
            self.says["ignored"].append(kind)
        else:
            self.says["identities"].append((user, other, time() if callable(time) else time, event_id))

    def time(self, said: Any) -> int:
        if said is None:
            return self.record_time
        return round(datetime.fromisoformat(said.upper()).timestamp() * 1000 if isinstance(said, str) else said)


def text(value: Any) -> str | None:
    return None if value in (None, "", "(not set)") else str(value)


def product_id(product: Mapping[str, Any]) -> str | None:
    return text(product.get("product_id")) or text(product.get("sku"))


def item_id(item: Mapping[str, Any]) -> str | None:
    return text(item.get("item_id")) or text(item.get("item_name"))


def meaning_of(name: str) -> str:
    return MEANINGS[name.casefold()]


def ignored_by_ga4(name: str) -> bool:
    return meaning_of(name) == "ignored" or name.casefold() in GA4_IGNORED_NAMES
