"""What a user is to the system, in lines for a person and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from model.data.events import EVENT_TYPES, SEARCH
from stream_app.contract.predictions import Prediction
from stream_app.contract.profiles.reason_words import reason_text
from stream_app.contract.questions.answers import PastAction
from stream_app.people.past_actions import NamesOf, remembered_past

_BAR: Final = 24  # characters of a share of 1
_NEXT: Final = 5  # next actions that are shown
_ITEMS: Final = 10  # recommendations
_UNKNOWN: Final = "an item that neither version nor catalogue names"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400  # seconds

TitleOf = Callable[[str], str]  # gives an item's title by its id, "" where it has none


class UserView(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of a user."""

    user_id: str
    partition: int
    actions: int  # so many there were in all
    last_action: str | None  # RFC 3339
    history: list[PastAction]  # that are remembered, newest first
    state_bytes: int
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class ReadUser:
    """A user's records, as they were read."""

    user: str
    partition: int
    state: bytes
    prediction: Prediction | None


def view_of(read: ReadUser, names_of: NamesOf) -> UserView:
    """Returns what a state's record and the newest prediction say. Raises `RecordCorrupt` for bytes that are none."""
    past = remembered_past(read.state, names_of)
    last = past.last_time
    return UserView(
        user_id=read.user,
        partition=read.partition,
        actions=past.actions,
        last_action=None if last is None else datetime.fromtimestamp(last / 1000, UTC).isoformat(),
        history=past.history,
        state_bytes=len(read.state),
        prediction=read.prediction,
    )


def lines_of(view: UserView, title_of: TitleOf, *, most: int) -> Iterator[str]:
    """Yields a user's view in lines; of the history the newest `most`."""
    when = "at no known time" if view.last_action is None else view.last_action
    yield f"{view.user_id}: {view.actions:,} actions, the last one {when}"
    yield f"  kept as {view.state_bytes:,} bytes on partition {view.partition}"
    yield ""
    shown = view.history[:most]
    yield f"What they did last ({len(shown)} of {len(view.history)} that are remembered, newest first)"
    for action in shown:
        yield f"  {_ago(action.seconds_before):>16}  {action.type:10} {_item(action, title_of)}"
    if view.prediction is None:
        yield ""
        yield "Their newest prediction is no longer on the topic."
    else:
        yield from _prediction_lines(view.prediction, title_of)


def _prediction_lines(prediction: Prediction, title_of: TitleOf) -> Iterator[str]:
    yield ""
    yield f"What comes next, as version {prediction.model_version} says"
    for action in prediction.next_actions[:_NEXT]:
        named = f" {_name(action.item_id, title_of)}" if action.item_id else ""
        yield f"  {_bar(action.probability)} {action.probability:5.1%}  {action.type}{named}"
    yield from _profile_lines(prediction)
    yield ""
    yield "Recommended"
    reasons = {reason.item_id: reason.because for reason in prediction.reasons or []}
    for rank, item in enumerate(prediction.recommendations[:_ITEMS], 1):
        yield f"  {rank:2}  {_name(item.item_id, title_of)}"
        for because in reasons.get(item.item_id, []):
            yield f"        {because.weight:4.0%} {reason_text(because, lambda item_id: _name(item_id, title_of))}"


def _profile_lines(prediction: Prediction) -> Iterator[str]:
    scores = {
        "buys soon": prediction.purchase_probability,
        "leaves now": prediction.leave_probability,
        "comes back": prediction.return_probability,
    }
    yield ""
    yield "How likely"
    for name, score in scores.items():
        if score is not None:
            yield f"  {_bar(score)} {score:5.1%}  {name}"
    if prediction.segment is not None:
        yield ""
        yield f"Segment: {prediction.segment.name} (number {prediction.segment.id}, fits {prediction.segment.fit:.0%})"
    likes = prediction.preferences
    if likes is None:
        return
    for title, shares in (("Categories", likes.categories), ("Brands", likes.brands)):
        if shares:
            yield ""
            yield title
        for share in shares:
            yield f"  {_bar(share.share)} {share.share:5.1%}  {share.name}"
    if likes.price_band is not None:
        low, high = (("" if bound is None else f"{bound:g}") for bound in (likes.price_band.low, likes.price_band.high))
        yield ""
        yield f"Price band: {low or 'anything'} to {high or 'anything'} {likes.price_band.currency or ''}".rstrip()


def _item(action: PastAction, title_of: TitleOf) -> str:
    if action.item_id is not None:
        return _name(action.item_id, title_of)
    return "" if action.type == EVENT_TYPES[SEARCH] else _UNKNOWN


def _name(item_id: str, title_of: TitleOf) -> str:
    title = title_of(item_id)
    return f"{title} ({item_id})" if title else item_id


def _bar(share: float) -> str:
    return ("█" * round(_BAR * min(max(share, 0.0), 1.0))).ljust(_BAR, "·")


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "earlier"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"about {seconds / length:.0f} {unit} before"
    return f"about {seconds:.0f} s before" if seconds >= 1 else "last"
