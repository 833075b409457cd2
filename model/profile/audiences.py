"""Audiences: groups of users that a marketer defines by conditions, all of which must hold.

What a condition asks of a user is in the user's record, so that membership can be told at any time, also when nothing
comes: some conditions change by time alone, and then it is known when the next one does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final, Literal, NamedTuple

import msgspec

from model.data.events import EVENT_TYPES
from model.state.visits import DAY_MS, MOST_DAYS, Visit

HOUR_MS: Final = 3_600_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

EventType = Literal["click", "search", "purchase", "view", "cart", "favorite", "remove"]


class Range(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A condition on a number; the ends belong to it."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Tells whether a number is in the range."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def problem(self) -> str | None:
        """Returns what is wrong with it, if anything."""
        if self.at_least is None and self.at_most is None:
            return "at_least or at_most is missing"
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            return f"nothing is at least {self.at_least:g} and at most {self.at_most:g}"
        return None


class Count(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A condition on how many actions of a type a user had in the last days (of UTC, today among them)."""

    type: EventType
    days: int = MOST_DAYS
    at_least: float | None = None
    at_most: float | None = None

    @property
    def range(self) -> Range:
        """The numbers that it allows."""
        return Range(self.at_least, self.at_most)


class Liking(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A condition on how much of what a user likes falls to a category or a brand."""

    category: str | None = None
    brand: str | None = None
    at_least: float = 0.0  # share; a category or a brand that is not shown has none


class SaidOfUser(NamedTuple):
    """What the newest prediction says of a user; None: nothing."""

    segment: tuple[int, str] | None  # id and name
    leave: float | None  # probabilities
    returns: float | None
    categories: Mapping[str, float]  # shares by name
    brands: Mapping[str, float]


class Audience(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A group of users: those of whom all that is given here holds."""

    about: str = ""  # for people
    idle_hours: Range | None = None  # since the last action
    visits: Range | None = None
    cart_open: bool | None = None  # whether there is anything in the cart
    counts: Sequence[Count] = ()
    purchase_probability: Range | None = None  # of the newest prediction, as all that follows
    leave_probability: Range | None = None
    return_probability: Range | None = None
    segments: Sequence[int | str] = ()  # ids or names, of which the user is in one
    likes: Sequence[Liking] = ()

    def problems(self) -> list[str]:
        """Returns what is wrong with it, each with the field's name."""
        ranges = {name: getattr(self, name) for name in _RANGES}
        ranges |= {f"counts[{index}]": count.range for index, count in enumerate(self.counts)}
        found = [f"{name}: {said}" for name, one in ranges.items() if one is not None and (said := one.problem())]
        is_empty = all(one is None for one in ranges.values()) and self.cart_open is None
        if is_empty and not self.segments and not self.likes:
            found.append("there is no condition: everybody would be in it")
        for index, count in enumerate(self.counts):
            if not 1 <= count.days <= MOST_DAYS:
                found.append(f"counts[{index}].days: it is {count.days}, and 1 to {MOST_DAYS} days are counted")
        for index, liking in enumerate(self.likes):
            if (liking.category is None) == (liking.brand is None) or not 0 < liking.at_least <= 1:
                found.append(f"likes[{index}]: it takes a category or a brand, and at_least above 0 and up to 1")
        return found

    @property
    def asks_predictions(self) -> bool:
        """Whether conditions are about what predictions say, beside the probability of a purchase."""
        return bool(self.leave_probability or self.return_probability or self.segments or self.likes)


Audiences = Mapping[str, Audience]  # by name


_RANGES: Final = ("idle_hours", "visits", "purchase_probability", "leave_probability", "return_probability")


class Membership(NamedTuple):
    """Which audiences a user belongs to."""

    names: list[str]
    until: int  # ms since the epoch: when it may be others though nothing comes; 0: never


def name_problem(name: str) -> str | None:
    """Returns what is wrong with the name of an audience, if anything."""
    if _NAME.fullmatch(name):
        return None
    return "a name has up to 64 of the characters a-z, 0-9, _, . and -, a letter or digit first"


def fitting(audiences: Audiences, said: SaidOfUser) -> list[str]:
    """Returns the audiences that ask what predictions say, and whose conditions on that hold."""
    return [name for name, audience in audiences.items() if audience.asks_predictions and _fits(audience, said)]


def _fits(audience: Audience, said: SaidOfUser) -> bool:
    scores = ((audience.leave_probability, said.leave), (audience.return_probability, said.returns))
    for wanted, score in scores:
        if wanted is not None and (score is None or not wanted.holds(score)):
            return False
    if audience.segments and (said.segment is None or not set(said.segment) & set(audience.segments)):
        return False
    return all(_share(liking, said) >= liking.at_least for liking in audience.likes)


def _share(liking: Liking, said: SaidOfUser) -> float:
    if liking.category is not None:
        return said.categories.get(liking.category, 0.0)
    return said.brands.get(liking.brand or "", 0.0)


def membership(audiences: Audiences, visit: Visit, now: int) -> Membership:
    """Returns the audiences that a user belongs to at a time (ms since the epoch)."""
    names, changes = list[str](), list[int]()
    for name, audience in audiences.items():
        if (name in visit.fits or not audience.asks_predictions) and _holds_at_all_times(audience, visit):
            if _holds_now(audience, visit, now):
                names.append(name)
            changes += _changes(audience, visit, now)
    return Membership(names, min(changes, default=0))


def _holds_at_all_times(audience: Audience, visit: Visit) -> bool:
    """Tells whether all conditions hold that only the user can change."""
    return (
        (audience.cart_open is None or audience.cart_open == bool(visit.cart))
        and (audience.visits is None or audience.visits.holds(visit.number))
        and (audience.purchase_probability is None or audience.purchase_probability.holds(visit.purchase))
    )


def _holds_now(audience: Audience, visit: Visit, now: int) -> bool:
    """Tells whether all conditions hold that time changes."""
    if audience.idle_hours is not None and not audience.idle_hours.holds((now - visit.arrived) / HOUR_MS):
        return False
    return all(count.range.holds(_counted(count, visit, now // DAY_MS)) for count in audience.counts)


def _counted(count: Count, visit: Visit, today: int) -> int:
    code, first = EVENT_TYPES.index(count.type), today - count.days + 1
    return sum(counts[code] for day, counts in visit.days if first <= day <= today)


def _changes(audience: Audience, visit: Visit, now: int) -> list[int]:
    """Returns the next time of each condition at which it may change, in ms since the epoch."""
    found = []
    if (idle := audience.idle_hours) is not None:
        # A millisecond behind its end the user is out of a range.
        ends = (idle.at_least, 0), (idle.at_most, 1)
        times = [visit.arrived + ceil(hours * HOUR_MS) + behind for hours, behind in ends if hours is not None]
        found += [time for time in times if time > now][:1]
    today = now // DAY_MS
    for count in audience.counts:
        code, first = EVENT_TYPES.index(count.type), today - count.days + 1
        found += [(day + count.days) * DAY_MS for day, counts in visit.days if day >= first and counts[code]][:1]
    return found
