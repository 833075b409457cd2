"""An item as the catalogue takes it in and gives it back."""

from __future__ import annotations

from typing import Final

import msgspec

CATEGORY_SEPARATOR: Final = " > "  # between the levels of a category that is written as one text


class Offer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What holds of an item in one market; what is not given there is as it is elsewhere."""

    price: float | None = None
    currency: str = ""
    available: bool | None = None


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the catalogue keeps in memory of an item; an empty text, an empty list or None: not given."""

    item_id: str
    title: str = ""
    category: tuple[str, ...] = ()  # from the widest level to the narrowest
    brand: str = ""
    group: str = ""  # the product that variants of size and colour belong to
    price: float | None = None
    currency: str = ""
    available: bool | None = None
    stock: float | None = None  # units
    tags: tuple[str, ...] = ()
    released: int | None = None  # milliseconds since the epoch
    markets: dict[str, Offer] = {}

    @property
    def category_text(self) -> str:
        """The whole path, as events name it, too."""
        return CATEGORY_SEPARATOR.join(self.category)

    @property
    def is_available(self) -> bool | None:
        """Whether it can be bought: as its record says or, if it does not, by its stock; None: not known."""
        if self.available is None and self.stock is not None:
            return self.stock > 0
        return self.available

    def offer(self, market: str | None) -> Offer:
        """Returns what holds in a market: its own offer and, for what that does not say, what holds everywhere."""
        own = self.markets.get(market or "", Offer())
        return Offer(
            price=self.price if own.price is None else own.price,
            currency=own.currency or self.currency,
            available=self.is_available if own.available is None else own.available,
        )
