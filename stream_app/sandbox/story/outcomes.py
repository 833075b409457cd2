"""Counts how often each of those who say what comes next was right, with intervals over users."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import sqrt
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Teller = Literal["nextact", "rival", "rules", "popularity"]

TELLERS: Final[tuple[Teller, ...]] = get_args(Teller)
NAMES: Final[dict[Teller, str]] = {
    "nextact": "nextact",
    "rival": "what the shop shows today",
    "rules": "rules that learn live",
    "popularity": "popularity",
}
_SIDE: Final = 1.96  # standard errors on each side of an interval of 95 %


class Share(NamedTuple):
    """A share of targets, or a difference of two, and the ends of its 95 % interval over users."""

    mean: float
    low: float
    high: float
    targets: int


class Outcome(NamedTuple):
    """What became of one target."""

    user: str
    category: str  # of its item; "": it is not known
    new_user: bool  # who did nothing before the live part
    new_item: bool  # that nobody touched before the live part
    by_rules: bool  # nextact's answer came before its first trained version
    listed: bool  # the rival showed this user anything before
    found: dict[Teller, bool]


@dataclass(slots=True)
class Outcomes:
    """All targets so far, a column for each field."""

    categories: list[str] = field(default_factory=list)  # by number
    users: array[int] = field(default_factory=lambda: array("q"))
    of_categories: array[int] = field(default_factory=lambda: array("q"))
    flags: array[int] = field(default_factory=lambda: array("b"))  # bits: new user, new item, by rules, listed
    found: array[int] = field(default_factory=lambda: array("b"))  # bits, in the order of TELLERS
    _users: dict[str, int] = field(default_factory=dict)
    _categories: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def add(self, outcome: Outcome) -> None:
        """Counts a target."""
        self.users.append(self._users.setdefault(outcome.user, len(self._users)))
        number = self._categories.setdefault(outcome.category, len(self._categories))
        if number == len(self.categories):
            self.categories.append(outcome.category)
        self.of_categories.append(number)
        self.flags.append(_bits(outcome.new_user, outcome.new_item, outcome.by_rules, outcome.listed))
        self.found.append(_bits(*(outcome.found.get(teller, False) for teller in TELLERS)))

    def columns(self, newest: int | None = None) -> Columns:
        """Returns the targets that count, at most the newest so many: those that a trained version answered.

        Where no version was trained, those that nextact's rules answered count.
        """
        flags = np.array(self.flags, np.uint8)
        trained = (flags & 4) == 0
        rows = np.flatnonzero(trained if trained.any() else np.ones(len(flags), np.bool_))
        rows = rows if newest is None else rows[-newest:]
        return Columns(
            users=np.array(self.users, np.int64)[rows],
            categories=np.array(self.of_categories, np.int64)[rows],
            flags=flags[rows],
            found=np.array(self.found, np.uint8)[rows],
            trained=bool(trained.any()),
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """N targets as arrays."""

    users: NDArray[np.int64]
    categories: NDArray[np.int64]
    flags: NDArray[np.uint8]
    found: NDArray[np.uint8]
    trained: bool  # whether a trained version answered them

    def __len__(self) -> int:
        return len(self.users)

    def where(self, rows: NDArray[np.bool_]) -> Columns:
        """Returns some of the targets."""
        return Columns(self.users[rows], self.categories[rows], self.flags[rows], self.found[rows], self.trained)

    def flag(self, bit: int) -> NDArray[np.bool_]:
        """Returns a flag (N,): 0 new user, 1 new item, 3 listed by the rival."""
        set_: NDArray[np.bool_] = (self.flags >> bit & 1).astype(np.bool_)
        return set_

    def hits(self, teller: Teller) -> NDArray[np.float64]:
        """Returns which targets one of them found (N,)."""
        hits: NDArray[np.float64] = (self.found >> TELLERS.index(teller) & 1).astype(np.float64)
        return hits

    def share(self, teller: Teller) -> Share:
        """Returns the share of targets that one of them found."""
        return share_of(self.hits(teller), self.users)

    def gain(self, over: Teller) -> Share:
        """Returns how much larger nextact's share is, target by target."""
        return difference_of(self.hits("nextact") - self.hits(over), self.users)


def share_of(hits: NDArray[np.float64], users: NDArray[np.int64]) -> Share:
    """Returns the share of hits (N,) with its 95 % interval over their users (N,).

    A user's targets hang together. So the interval is Wilson's for as many targets that hang on nothing as would have
    the same standard error: that of a ratio of sums over users. Where all or none hit, as many as there are users.
    """
    n = len(hits)
    if not n:
        return Share(0.0, 0.0, 1.0, 0)
    mean, error = _mean_and_error(hits, users)
    spread, most = mean * (1 - mean), float(n)
    if spread == 0 or len(np.unique(users)) < 2:
        most = float(len(np.unique(users)))
    elif error > 0:
        most = min(most, spread / error**2)
    weight = _SIDE**2 / most
    centre, side = (mean + weight / 2) / (1 + weight), _SIDE * sqrt(spread / most + weight / (4 * most)) / (1 + weight)
    return Share(mean, max(0.0, centre - side), min(1.0, centre + side), n)


def difference_of(gains: NDArray[np.float64], users: NDArray[np.int64]) -> Share:
    """Returns the mean of gains (N,), from -1 to 1, with its 95 % interval over their users (N,)."""
    if len(np.unique(users)) < 2:
        return Share(float(gains.mean()) if len(gains) else 0.0, -1.0, 1.0, len(gains))
    mean, error = _mean_and_error(gains, users)
    return Share(mean, max(-1.0, mean - _SIDE * error), min(1.0, mean + _SIDE * error), len(gains))


def _mean_and_error(values: NDArray[np.float64], users: NDArray[np.int64]) -> tuple[float, float]:
    """Returns the mean of values (N,) and its standard error, clustered by their users (N,); 0.0 for one user."""
    mean, (_, numbers) = float(values.mean()), np.unique(users, return_inverse=True)
    residuals = np.bincount(numbers, values - mean)
    count = len(residuals)
    return mean, sqrt(float((residuals**2).sum()) * count / max(count - 1, 1)) / len(values)


def _bits(*flags: bool) -> int:
    return sum(1 << position for position, flag in enumerate(flags) if flag)
