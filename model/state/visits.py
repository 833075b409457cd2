"""A user's visit, and what only silence tells of it: that it has ended, and what was left undone.

A visit begins with an action and ends with silence: nothing came for so long, by the log or by the user's own clock.
What comes afterwards begins the next one, so what an end tells is told once for each number of a visit.
The section `timers` of the user's record. It is written with the events that it is about, and once more when the visit
has ended: whoever has the record knows what is still to be told, and when.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec

from model.data.event_time import EARLIEST_MS
from model.data.events import EVENT_TYPES, PURCHASE, REMOVE, TYPE_CODES
from model.state.sections import TIMERS
from model.state.user_record import section_of

MOST_IN_CART: Final = 32  # items that are remembered, the newest
MOST_DAYS: Final = 30  # on which actions are counted, the newest among them
DAY_MS: Final = 86_400_000
_CART: Final = TYPE_CODES["cart"]


class VisitRules(NamedTuple):
    """What the shop calls a visit."""

    silence_ms: int  # after which it has ended
    expected: float  # the least probability of a purchase that is one to expect


class VisitAction(NamedTuple):
    """What a user did, as far as a visit remembers it."""

    type: int  # code
    item_id: str


class ActedEvent(NamedTuple):
    """An event of one action or several."""

    arrived: int  # ms since the epoch, when it came, by its record
    time: int  # ms, the user's clock after it
    actions: list[VisitAction]
    purchase: float  # probability of a purchase, in the answer to it


class Visit(msgspec.Struct, array_like=True, gc=False):
    """A user's newest visit, and what audiences go by. Fields are only ever added, behind the others."""

    due: int = 0  # ms, when to look at the user if nothing comes; 0: there is nothing to wait for
    ends: int = 0  # ms, when the visit has ended if nothing comes; 0: its end is told
    number: int = 0  # of the visit, from 1 on
    begun: int = 0  # ms, the user's clock at its first action
    last: int = 0  # ms, the user's clock after its last action
    arrived: int = 0  # ms, when its last action came
    actions: int = 0
    expected: float = 0.0  # the highest probability of a purchase since the last one in the visit
    cart_changed: bool = False  # in this visit
    cart: list[str] = []  # ids of items, also of visits before
    purchase: float = 0.0  # the probability of a purchase, in the newest prediction
    days: list[tuple[int, list[int]]] = []  # of UTC since the epoch, with how many actions of each type came, rising
    audiences: list[str] = []  # names of those that the user belongs to
    changes: int = 0  # how often the user entered one or left one
    fits: list[str] = []  # names of those whose conditions on the newest prediction hold

    @property
    def is_open(self) -> bool:
        """Whether its end is still to be told."""
        return self.ends > 0


class VisitEnd(NamedTuple):
    """What there is to tell of a visit that has ended."""

    number: int
    begun: int  # ms, the user's clock
    last: int  # ms, the same at its last action
    ended: int  # ms, the same when it had been silent for long enough
    actions: int
    left_in_cart: list[str]  # ids of items, where the cart changed in this visit
    expected: float  # the probability of a purchase that did not come; 0: none was to be expected


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Visit)


def read_visit(section: bytes | None) -> Visit:
    """Returns the visit that a section has; one that cannot be read is none."""
    try:
        return Visit() if section is None else _DECODER.decode(section)
    except msgspec.DecodeError:
        return Visit()


def written_visit(visit: Visit) -> bytes:
    """Returns the section of a visit."""
    return _ENCODER.encode(visit)


def visit_of(record: bytes) -> Visit:
    """Returns the visit in a user's record; one that cannot be read is none."""
    try:
        return read_visit(section_of(record, TIMERS))
    except (struct.error, IndexError):  # a damaged record, which is left out when it is needed
        return Visit()


def arrival(record_time: int, now: int) -> int:
    """Returns when an event came, by the time of its record unless that cannot be right; `now` by the clock. In ms."""
    return record_time if EARLIEST_MS <= record_time <= now else now


def has_ended_before(visit: Visit, event: ActedEvent, rules: VisitRules) -> bool:
    """Tells whether an event shows that the user's visit had ended before it."""
    return visit.is_open and (event.arrived >= visit.ends or event.time - visit.last > rules.silence_ms)


def end(visit: Visit, rules: VisitRules) -> VisitEnd:
    """Ends a visit that is open; when to look at the user next is not said yet."""
    visit.ends = 0
    return VisitEnd(
        number=visit.number,
        begun=visit.begun,
        last=visit.last,
        ended=visit.last + rules.silence_ms,
        actions=visit.actions,
        left_in_cart=list(visit.cart) if visit.cart_changed else [],
        expected=visit.expected if visit.expected >= rules.expected else 0.0,
    )


def act(visit: Visit, event: ActedEvent, rules: VisitRules) -> None:
    """Takes an event in; it begins a visit where none is open. When to look at the user next is not said yet."""
    if not visit.is_open:
        visit.number += 1
        visit.begun, visit.actions, visit.expected, visit.cart_changed = event.time, 0, 0.0, False
        visit.arrived = event.arrived
    visit.last, visit.arrived = event.time, max(visit.arrived, event.arrived)
    visit.ends = visit.arrived + rules.silence_ms
    visit.actions += len(event.actions)
    bought = False
    for action in event.actions:
        bought |= action.type == PURCHASE
        _change_cart(visit, action)
    _count(visit, event)
    visit.purchase = event.purchase
    visit.expected = 0.0 if bought else max(visit.expected, event.purchase)


def _count(visit: Visit, event: ActedEvent) -> None:
    """Counts the actions of an event on the day when it came."""
    today = visit.arrived // DAY_MS
    if not visit.days or visit.days[-1][0] != today:
        visit.days = [one for one in visit.days if one[0] > today - MOST_DAYS] + [(today, [0] * len(EVENT_TYPES))]
    for action in event.actions:
        visit.days[-1][1][action.type] += 1


def _change_cart(visit: Visit, action: VisitAction) -> None:
    """Puts an item in or takes it out; whoever buys anything has left nothing behind."""
    if action.type == PURCHASE:
        visit.cart = []
    elif action.type == _CART:
        visit.cart = [*(item for item in visit.cart if item != action.item_id), action.item_id][-MOST_IN_CART:]
        visit.cart_changed = True
    elif action.type == REMOVE and action.item_id in visit.cart:
        visit.cart = [item for item in visit.cart if item != action.item_id]
        visit.cart_changed = True
