"""The behaviour of simulated shoppers: the truth that a model of them can be compared with.

**Habits.** A shopper has three favourite categories, a price band and a *course*: a way of walking through
the shop, along the ladder of a category or the line of a brand, upwards or downwards, one to five items at a
time. Habits stay for life; three missions in four follow the habitual course, the others a course of their
own.

**Missions.** A visit is one mission or a few. A mission mostly begins with a search (the words of the
category and often a brand), then opens an item that fits the query, the price band and popularity, and goes
on along its course: the *last two* items tell the course, the last one alone does not. `view` is often
followed by `click` on the same item; `cart` by `purchase` or `remove` of the same item; half of the purchases
by the accessory of what was bought.

**Noise.** Now and then a shopper jumps to something popular; then mostly returns to where the mission stood,
else starts from there on a new course. Missions break off at any time.

Each decision is drawn from a table below, and `next_probabilities` reads the same tables: that is the oracle.
It knows the shopper's habits and everything observable, but no decision that is still to be drawn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from stream_app.sandbox.shop import BANDS, Course, ShopCatalogue

Table = tuple[tuple[str, float], ...]
Chances = defaultdict[int, float]  # of items by index

# The act that follows the last event's type. "" is a shopper at rest; "browse" is decided by BROWSE.
ACTS: Final[dict[str, Table]] = {
    "": (("search", 0.85), ("open", 0.15)),
    "search": (("open", 1.0),),
    "view": (("click", 0.22), ("cart", 0.06), ("favorite", 0.03), ("browse", 0.69)),
    "click": (("cart", 0.17), ("favorite", 0.08), ("browse", 0.75)),
    "cart": (("purchase", 0.5), ("remove", 0.25), ("browse", 0.25)),
    "purchase": (("accessory", 0.5), ("leave", 0.5)),
    "favorite": (("browse", 1.0),),
    "remove": (("browse", 1.0),),
}
BROWSE: Final[Table] = (("move", 0.72), ("jump", 0.11), ("leave", 0.17))
LEAVE: Final[Table] = (("mission", 0.3), ("quit", 0.7))
SAME_ITEM: Final = frozenset({"click", "cart", "favorite", "purchase", "remove"})
FAVOURITES: Final = (0.6, 0.25, 0.15)  # shares of missions in the three favourite categories
FOLLOWS_HABIT: Final = 0.75  # share of missions on the habitual course
RETURNS_AFTER_JUMP: Final = 0.75  # share of jumps after which the mission goes on
NAMES_BRAND: Final = 0.7  # share of searches that name a brand
LOOKS_AS_VIEW: Final = 0.5  # share of looks that are a `view`, else a `click`
COURSES: Final = tuple(
    Course(along_brand, stride) for along_brand in (False, True) for stride in (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
)


@dataclass(slots=True)
class Shopper:
    """One user: their habits for life, and where their present mission stands."""

    user_id: str
    favourites: tuple[int, ...]
    band: int
    habit: Course
    visits: int = 0
    kind: str = ""  # type of the last event; "" before the first one of a visit
    item: int = -1  # of the last event; -1 after a search
    anchor: int = -1  # where the mission stands: unlike `item`, a jump leaves it alone
    course: Course | None = None  # None until the mission's second item tells it
    jumped: bool = False
    category: int = -1  # searched for
    brand: int | None = None  # searched for


def new_shopper(user_id: str, catalogue: ShopCatalogue, rng: random.Random) -> Shopper:
    """Draws a shopper with habits of their own, at rest."""
    favourites = tuple(rng.sample(range(catalogue.categories), len(FAVOURITES)))
    return Shopper(user_id, favourites, rng.randrange(BANDS), rng.choice(COURSES))


def step(shopper: Shopper, catalogue: ShopCatalogue, rng: random.Random) -> bool:
    """Does the shopper's next act; returns False when the shopper left the shop instead."""
    act = _draw(ACTS[shopper.kind], rng)
    if act == "browse":
        act = _draw(BROWSE, rng)
    if act == "leave":
        act = _draw(LEAVE, rng)
        if act == "quit":
            shopper.kind = ""
            return False
        act = _draw(ACTS[""], rng)
        shopper.kind = ""  # what follows has nothing to do with the last search
    if act in SAME_ITEM:
        shopper.kind = act
    elif act == "search":
        _search(shopper, catalogue, rng)
    else:
        _look(shopper, act, catalogue, rng)
    return True


def next_probabilities(shopper: Shopper, catalogue: ShopCatalogue) -> dict[int, float]:
    """Returns P(the next event is on this item) by item index; the rest to 1 is P(it is a search)."""
    chances: Chances = defaultdict(float)
    for act, share in ACTS[shopper.kind]:
        if act in SAME_ITEM:
            chances[shopper.item] += share
        elif act == "accessory":
            chances[catalogue.accessory(shopper.item)] += share
        elif act == "open":
            _add_opened(chances, shopper, catalogue, share)
        elif act == "leave":
            _add_new_mission(chances, shopper, catalogue, share)
        elif act == "browse":
            _add_browsed(chances, shopper, catalogue, share)
    return dict(chances)


def oracle_ranking(shopper: Shopper, catalogue: ShopCatalogue, k: int) -> list[int]:
    """Returns the k items that the next event is most probably on, best first."""
    chances = next_probabilities(shopper, catalogue)
    return sorted(chances, key=lambda item: (-chances[item], item))[:k]


def _search(shopper: Shopper, catalogue: ShopCatalogue, rng: random.Random) -> None:
    shopper.category = _favourite(shopper, rng)
    meant = catalogue.starts(shopper.category, shopper.band).draw(rng)
    shopper.brand = catalogue.items[meant].brand if rng.random() < NAMES_BRAND else None
    shopper.kind, shopper.item = "search", -1


def _look(shopper: Shopper, act: str, catalogue: ShopCatalogue, rng: random.Random) -> None:
    if act == "jump":
        item = catalogue.popular.draw(rng)
    elif act == "move":
        item = _move(shopper, catalogue, rng)
    else:
        item = _opened(shopper, catalogue, rng) if act == "open" else catalogue.accessory(shopper.item)
        shopper.course = None
    shopper.jumped = act == "jump"
    shopper.item = item
    if not shopper.jumped:
        shopper.anchor = item
    shopper.kind = "view" if rng.random() < LOOKS_AS_VIEW else "click"


def _opened(shopper: Shopper, catalogue: ShopCatalogue, rng: random.Random) -> int:
    if shopper.kind == "search":
        return catalogue.starts(shopper.category, shopper.band, shopper.brand).draw(rng)
    return catalogue.starts(_favourite(shopper, rng), shopper.band).draw(rng)


def _move(shopper: Shopper, catalogue: ShopCatalogue, rng: random.Random) -> int:
    if shopper.jumped and rng.random() >= RETURNS_AFTER_JUMP:
        shopper.anchor, shopper.course = shopper.item, None
    if shopper.course is None:
        shopper.course = shopper.habit if rng.random() < FOLLOWS_HABIT else rng.choice(COURSES)
    return catalogue.moved(shopper.anchor, shopper.course)


def _add_browsed(chances: Chances, shopper: Shopper, catalogue: ShopCatalogue, share: float) -> None:
    shares = dict(BROWSE)
    for item, popularity in catalogue.popular.shares():
        chances[item] += share * shares["jump"] * popularity
    _add_new_mission(chances, shopper, catalogue, share * shares["leave"])
    moves = share * shares["move"]
    if shopper.jumped:
        _add_moved(chances, catalogue, shopper.item, shopper.habit, None, moves * (1 - RETURNS_AFTER_JUMP))
        moves *= RETURNS_AFTER_JUMP
    _add_moved(chances, catalogue, shopper.anchor, shopper.habit, shopper.course, moves)


def _add_moved(
    chances: Chances,
    catalogue: ShopCatalogue,
    anchor: int,
    habit: Course,
    course: Course | None,
    share: float,
) -> None:
    if course is not None:
        chances[catalogue.moved(anchor, course)] += share
        return
    chances[catalogue.moved(anchor, habit)] += share * FOLLOWS_HABIT
    for other in COURSES:
        chances[catalogue.moved(anchor, other)] += share * (1 - FOLLOWS_HABIT) / len(COURSES)


def _add_new_mission(chances: Chances, shopper: Shopper, catalogue: ShopCatalogue, share: float) -> None:
    """Adds the first items of a new mission, in this visit or, as quitting is not an event, in the next."""
    opened = share * dict(ACTS[""])["open"]
    for category, liking in zip(shopper.favourites, FAVOURITES, strict=True):
        for item, probability in catalogue.starts(category, shopper.band).shares():
            chances[item] += opened * liking * probability


def _add_opened(chances: Chances, shopper: Shopper, catalogue: ShopCatalogue, share: float) -> None:
    if shopper.kind != "search":
        _add_new_mission(chances, shopper, catalogue, 1.0)
        return
    for item, probability in catalogue.starts(shopper.category, shopper.band, shopper.brand).shares():
        chances[item] += share * probability


def _favourite(shopper: Shopper, rng: random.Random) -> int:
    rank = int(_draw((("0", FAVOURITES[0]), ("1", FAVOURITES[1]), ("2", FAVOURITES[2])), rng))
    return shopper.favourites[rank]


def _draw(table: Table, rng: random.Random) -> str:
    left = rng.random()
    for name, share in table:
        left -= share
        if left < 0:
            return name
    return table[-1][0]
