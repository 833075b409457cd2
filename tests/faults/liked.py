"""What a user likes, counted plainly as the documentation of the record has it. Shares no code with what it judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from xxhash import xxh3_64_intdigest

ENTRIES: Final = 8
HALF_LIFE: Final = 16  # actions
_BUCKETS: Final = (1024, 512)  # of categories, of brands
_KINDS: Final = {0: 0, 3: 0, 4: 1, 5: 1, 2: 2}  # by type code: looked (click, view), wanted (cart, favorite), bought

Entries = dict[int, list[float]]  # weights of each kind by key; the one touched last is the last


@dataclass
class Liked:
    """Categories and brands of one user."""

    fields: tuple[Entries, Entries] = field(default_factory=lambda: ({}, {}))

    def count(self, code: int, names: Sequence[str | None]) -> None:
        """Counts an action of this type on an item with this category and brand."""
        self.count_keys(code, [xxh3_64_intdigest(name.encode()) if name else 0 for name in names])

    def count_keys(self, code: int, keys: Sequence[int]) -> None:
        """Counts an action by the keys of category and brand, or by their buckets; 0: not given."""
        for key, entries, buckets in zip(keys, self.fields, _BUCKETS, strict=True):
            if key and code in _KINDS:
                _count(entries, key, _KINDS[code], buckets)

    def as_stored(self) -> list[list[tuple[int, list[float]]]]:
        """What the record has of each field, the one touched last first."""
        return [list(reversed(entries.items())) for entries in self.fields]


def _count(entries: Entries, key: int, kind: int, buckets: int) -> None:
    for weights in entries.values():
        weights[:] = [weight * 0.5 ** (1 / HALF_LIFE) for weight in weights]
    newest_first = list(reversed(entries))
    same = [known for known in newest_first if known == key or _either_is_a_bucket(known, key, buckets)]
    if same:
        weights = entries.pop(same[0])
        key = max(same[0], key) if same[0] < buckets else same[0]
    else:
        if len(entries) == ENTRIES:
            del entries[min(entries, key=lambda known: sum(entries[known]))]
        weights = [0.0, 0.0, 0.0]
    weights[kind] += 1
    entries[key] = weights


def _either_is_a_bucket(one: int, other: int, buckets: int) -> bool:
    def bucket(key: int) -> int:
        return key if key < buckets else 1 + key % (buckets - 1)

    return min(one, other) < buckets and bucket(one) == bucket(other)


def differs(
    found: Sequence[Sequence[tuple[int, Sequence[float]]]], liked: Liked, tolerance: float = 1e-4
) -> str | None:
    """What is wrong with what a record has of the two fields; None: nothing."""
    for name, entries, wanted in zip(("categories", "brands"), found, liked.as_stored(), strict=True):
        if [key for key, _ in entries] != [key for key, _ in wanted]:
            return f"{name} {[key for key, _ in entries]}, not {[key for key, _ in wanted]}"
        for (key, weights), (_, others) in zip(entries, wanted, strict=True):
            if any(abs(one - other) > tolerance for one, other in zip(weights, others, strict=True)):
                return f"{name}: {key} weighs {list(weights)}, not {others}"
    return None
