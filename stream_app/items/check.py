"""Says what a catalogue has and lacks, for people: shares of items with each field, scripts, variants and markets."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from model.items.item import Item

_SHOWN: Final = 10  # markets, scripts, and items that are not in the catalogue
_FIELDS: Final[dict[str, Callable[[Item], bool]]] = {
    "title": lambda item: bool(item.title),
    "category": lambda item: bool(item.category),
    "brand": lambda item: bool(item.brand),
    "price": lambda item: item.price is not None or any(offer.price is not None for offer in item.markets.values()),
    "currency": lambda item: bool(item.currency) or any(offer.currency for offer in item.markets.values()),
    "availability": lambda item: item.is_available is not None,
    "tags": lambda item: bool(item.tags),
    "released": lambda item: item.released is not None,
}
# Beginnings of the names of characters (`unicodedata.name`) whose script is called otherwise.
_SCRIPTS: Final = {"CJK": "Han", "IDEOGRAPHIC": "Han", "FULLWIDTH": "Latin"}


@dataclass(slots=True)
class CatalogueReport:
    """What a catalogue has, counted item by item."""

    items: int = 0
    with_field: Counter[str] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)  # of titles, each by most of its letters
    groups: Counter[str] = field(default_factory=Counter)  # items by group
    markets: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0

    def add(self, item: Item) -> None:
        """Counts an item."""
        self.items += 1
        self.with_field.update(name for name, has in _FIELDS.items() if has(item))
        self.unavailable += item.is_available is False
        self.markets.update(list(item.markets))  # a mapping would be counts
        if item.group:
            self.groups[item.group] += 1
        if item.title:
            self.scripts[main_script(item.title)] += 1

    def lines(self) -> list[str]:
        """Returns what there is to say."""
        variants = {group: count for group, count in self.groups.items() if count > 1}
        said = [f"{self.items:,} items"]
        said += [f"  {self._share(self.with_field[name])} have {_named(name)}" for name in _FIELDS]
        said += [f"  {self._share(self.unavailable)} are not available"] if self.with_field["availability"] else []
        said += [f"scripts of titles: {self._shares(self.scripts)}"] if self.scripts else ["no titles"]
        if variants:
            said.append(f"variants: {sum(variants.values()):,} items of {len(variants):,} products (group)")
        else:
            said.append("no variants: no two items have the same group")
        said.append(f"markets: {self._shares(self.markets)}" if self.markets else "no markets")
        return said

    def _share(self, count: int) -> str:
        return f"{count / max(self.items, 1):6.1%}"

    def _shares(self, counts: Counter[str]) -> str:
        shown = [f"{name} {count / max(self.items, 1):.1%}" for name, count in counts.most_common(_SHOWN)]
        return ", ".join(shown) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def report_of(items: Iterable[Item]) -> CatalogueReport:
    """Counts items."""
    report = CatalogueReport()
    for item in items:
        report.add(item)
    return report


def coverage_lines(events: Counter[str], known: Callable[[str], bool]) -> list[str]:
    """Says how much of what events are on is in a catalogue; `events` by item, `known` tells whether an item is."""
    unknown = Counter({item: count for item, count in events.items() if not known(item)})
    if not events:
        return ["no events on items"]
    share, items = 1 - unknown.total() / events.total(), 1 - len(unknown) / len(events)
    said = [
        f"events: {share:.1%} of {events.total():,} are on items of the catalogue, {items:.1%} of {len(events):,} items"
    ]
    if unknown:
        named = ", ".join(f"{item} ({count:,})" for item, count in unknown.most_common(_SHOWN))
        said.append(f"  not in it, most frequent first: {named}")
    return said


def main_script(title: str) -> str:
    """Returns the script that most letters of a title are of, as Latin, Han or Arabic; of equally many the first."""
    scripts = Counter(script_of(character) for character in title if character.isalpha())
    return scripts.most_common(1)[0][0] if scripts else "no letters"


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """Returns the script of a letter by the first word of its name."""
    word = unicodedata.name(letter, "unknown").split(" ")[0].split("-")[0]
    return _SCRIPTS.get(word, word.capitalize())


def _named(name: str) -> str:
    return name if name in ("availability", "tags") else "a date of release" if name == "released" else f"a {name}"
