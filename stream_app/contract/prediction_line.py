"""Describes a prediction in a line for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stream_app.contract.predictions import NextAction, Prediction
from stream_app.contract.profiles.reason_words import reason_text

_ACTIONS: Final = 3  # next actions in a line
_SHOWN: Final = 5  # recommendations in a line


def _no_title(_item_id: str) -> str:
    return ""


def prediction_line(prediction: Prediction, title_of: Callable[[str], str] = _no_title) -> str:
    """Returns a prediction as a line for people; `title_of` gives an item's title, or "" where it has none."""
    next_actions = ", ".join(_action(action, title_of) for action in prediction.next_actions[:_ACTIONS])
    items = [_name(item.item_id, title_of) for item in prediction.recommendations[:_SHOWN]]
    return (
        f"{prediction.user_id} after {prediction.event_type} #{prediction.history_length}: next {next_actions}; "
        f"buys soon {prediction.purchase_probability:.0%}; show {', '.join(items)}{_why(prediction, title_of)} "
        f"[{prediction.model_version}]"
    )


def _why(prediction: Prediction, title_of: Callable[[str], str]) -> str:
    """Says the weightiest reason for the first item, in brackets; "" without one."""
    because = prediction.reasons[0].because if prediction.reasons else []
    if not because:
        return ""
    return f" (the first as {reason_text(because[0], lambda item_id: _name(item_id, title_of))})"


def _action(action: NextAction, title_of: Callable[[str], str]) -> str:
    item = f" {_name(action.item_id, title_of)}" if action.item_id else ""
    return f"{action.type}{item} {action.probability:.0%}"


def _name(item_id: str, title_of: Callable[[str], str]) -> str:
    title = title_of(item_id)
    return f'"{title}"' if title else item_id
