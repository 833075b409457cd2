"""What the shopper's view says of one user: the words and numbers of an answer, ready to be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream_app.contract.predictions import Preferences, PriceBand, Reason
from stream_app.contract.profiles.reason_words import reason_text
from stream_app.contract.questions.answers import CurrentPrediction, PastAction, UserAnswer
from stream_app.page import figures
from stream_app.page.scrape import NO_VERSION

_ACTIONS: Final = 12  # past actions that are shown
_NEXT: Final = 6  # next actions
_ITEMS: Final = 8  # recommendations
_LIKES: Final = 4  # categories, and brands
_REASONS: Final = 2  # of an item

TitleOf = Callable[[str], str]

_DONE: Final = {  # what a shopper did
    "click": "clicked",
    "view": "viewed",
    "search": "searched for",
    "cart": "put in the cart",
    "purchase": "bought",
    "favorite": "liked",
    "remove": "took out",
}
_TO_COME: Final = {  # what they may do next
    "click": "click",
    "view": "view",
    "search": "search for something",
    "cart": "put in the cart",
    "purchase": "buy",
    "favorite": "like",
    "remove": "take out",
}


@dataclass(frozen=True, slots=True)
class Step:
    """An action in the shopper's sequence."""

    type: str
    did: str
    item: str
    also: str  # category
    before: str
    new: bool  # came since the last look


@dataclass(frozen=True, slots=True)
class Bar:
    """A share as a bar."""

    name: str
    also: str
    value: str
    width: float  # per cent
    from_width: float  # per cent: what it was before


@dataclass(frozen=True, slots=True)
class Item:
    """A recommended item."""

    rank: int
    name: str
    item_id: str
    reasons: list[str]
    new: bool


@dataclass(frozen=True, slots=True)
class ShopperView:
    """Everything in the view of a shopper."""

    user_id: str
    actions: str
    age: str
    answered_by: str
    steps: list[Step]
    more_steps: int
    next_actions: list[Bar]
    chances: list[Bar]
    categories: list[Bar]
    brands: list[Bar]
    price_band: str
    segment: str
    fit: str
    items: list[Item]
    rules: list[str] | None
    said: str  # what is new, for a screen reader; "" without news


@dataclass(slots=True)
class SeenAnswers:
    """What was shown of a shopper before, so that what is new can be marked."""

    actions: int | None = None
    items: frozenset[str] = frozenset()
    widths: dict[str, float] = field(default_factory=dict)  # of bars, by what they are of
    widths_before: dict[str, float] = field(default_factory=dict)


def identity(answer: UserAnswer) -> object:
    """Returns what is another value whenever there is something new of a user; how old it is, and what the rules have
    learned from others meanwhile, is nothing new."""
    prediction = answer.prediction
    return (prediction.prediction_id, prediction.history_length, prediction.model_version, answer.source)


def shopper_view(answer: UserAnswer, seen: SeenAnswers) -> ShopperView:
    """Returns what there is to say of a user; `seen` is brought up to date."""
    prediction = answer.prediction
    seen.widths_before, seen.widths = seen.widths, {}
    arrived = 0 if seen.actions is None else max(0, prediction.history_length - seen.actions)
    steps = [_step(action, number < arrived) for number, action in enumerate(answer.history[:_ACTIONS])]
    name_of = _names(answer.titles)
    likes = prediction.preferences or Preferences()
    view = ShopperView(
        user_id=answer.user_id,
        actions=f"{prediction.history_length:,} {'action' if prediction.history_length == 1 else 'actions'}",
        age=figures.age(answer.age_ms),
        answered_by=_by(prediction.model_version),
        steps=steps,
        more_steps=max(0, prediction.history_length - len(steps)) if steps else 0,
        next_actions=_next_actions(prediction, name_of, seen),
        chances=_chances(prediction, seen),
        categories=_shares("category", [(one.name, one.share) for one in likes.categories], seen),
        brands=_shares("brand", [(one.name, one.share) for one in likes.brands], seen),
        price_band=_price_band(likes.price_band),
        segment=prediction.segment.name if prediction.segment else "",
        fit=figures.percent(prediction.segment.fit) if prediction.segment else "",
        items=_items(answer, name_of, seen),
        rules=_rules(answer, name_of),
        said="" if not arrived or not steps else f"{steps[0].did} {steps[0].item}".strip(),
    )
    seen.actions = prediction.history_length
    seen.items = frozenset(item.item_id for item in view.items)
    return view


def _by(version: str) -> str:
    return "the rules" if version == NO_VERSION else f"version {version}"


def _names(titles: dict[str, str]) -> TitleOf:
    return lambda item_id: titles.get(item_id) or item_id


def _step(action: PastAction, new: bool) -> Step:
    item = action.title or action.item_id or (f"“{action.query}”" if action.query else "")
    unnamed = "something" if action.type == "search" else "an item without a name"
    return Step(
        type=action.type,
        did=_DONE.get(action.type, action.type),
        item=item or unnamed,
        also=_last_of(action.category or ""),
        before=_before(action.seconds_before),
        new=new,
    )


def _before(seconds: float | None) -> str:
    if seconds is None:
        return "earlier"
    return f"{figures.span(seconds)} before" if seconds >= 1 else "just before"


def _last_of(category: str) -> str:
    return category.rsplit(">", 1)[-1].strip()


def _next_actions(prediction: CurrentPrediction, name_of: TitleOf, seen: SeenAnswers) -> list[Bar]:
    bars = []
    for action in prediction.next_actions[:_NEXT]:
        verb, item = _TO_COME.get(action.type, action.type), name_of(action.item_id or "")
        if not item:
            verb, item = "", verb
        key = f"next {action.type} {action.item_id}"
        bars.append(_bar(key, item, verb, action.probability, seen))
    return bars


def _chances(prediction: CurrentPrediction, seen: SeenAnswers) -> list[Bar]:
    chances = (
        ("buys soon", "among their next events", prediction.purchase_probability),
        ("leaves now", "no action within 30 minutes", prediction.leave_probability),
        ("comes back", "within 7 days", prediction.return_probability),
    )
    return [_bar(f"chance {name}", name, also, share, seen) for name, also, share in chances if share is not None]


def _shares(kind: str, shares: Sequence[tuple[str, float]], seen: SeenAnswers) -> list[Bar]:
    return [_bar(f"{kind} {name}", _last_of(name), "", share, seen) for name, share in shares[:_LIKES]]


def _bar(key: str, name: str, also: str, share: float, seen: SeenAnswers) -> Bar:
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    seen.widths[key] = width
    return Bar(name, also, figures.percent(share), width, seen.widths_before.get(key, 0.0))


def _price_band(band: PriceBand | None) -> str:
    if band is None or (band.low is None and band.high is None):
        return ""
    if band.low is None:
        words = f"up to {band.high:,.2f}"
    elif band.high is None:
        words = f"{band.low:,.2f} and more"
    else:
        words = f"{band.low:,.2f} to {band.high:,.2f}"
    return f"{words} {band.currency or ''}".rstrip()


def _items(answer: UserAnswer, name_of: TitleOf, seen: SeenAnswers) -> list[Item]:
    prediction = answer.prediction
    reasons = {reason.item_id: reason for reason in prediction.reasons or []}
    first = seen.actions is None
    return [
        Item(
            rank=rank,
            name=name_of(one.item_id),
            item_id=one.item_id,
            reasons=_reasons(reasons.get(one.item_id), name_of),
            new=not first and one.item_id not in seen.items,
        )
        for rank, one in enumerate(prediction.recommendations[:_ITEMS], 1)
    ]


def _rules(answer: UserAnswer, name_of: TitleOf) -> list[str] | None:
    """Returns what the rules would have said; None where they said it themselves, or were not asked."""
    if answer.rules is None or answer.prediction.model_version == NO_VERSION:
        return None
    return [name_of(item) for item in answer.rules[:_ITEMS]]


def _reasons(reason: Reason | None, name_of: TitleOf) -> list[str]:
    return [] if reason is None else [reason_text(because, name_of) for because in reason.because[:_REASONS]]
