"""Describes a prediction in a line for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stream_app.contract.predictions import NextAction, Prediction

_ACTIONS: Final = 3  # next actions in a line
_SHOWN: Final = 5  # recommendations in a line


def prediction_line(prediction: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """Returns a prediction as a line for people; `titles` of items by id, which stand for those that have none."""
    titles = titles or {}
    next_actions = ", ".join(_action(action, titles) for action in prediction.next_actions[:_ACTIONS])
    items = [_name(item.item_id, titles) for item in prediction.recommendations[:_SHOWN]]
    return (
        f"{prediction.user_id} after {prediction.event_type} #{prediction.history_length}: next {next_actions}; "
        f"buys soon {prediction.purchase_probability:.0%}; show {', '.join(items)} [{prediction.model_version}]"
    )


def _action(action: NextAction, titles: Mapping[str, str]) -> str:
    item = f" {_name(action.item_id, titles)}" if action.item_id else ""
    return f"{action.type}{item} {action.probability:.0%}"


def _name(item_id: str, titles: Mapping[str, str]) -> str:
    title = titles.get(item_id)
    return f'"{title}"' if title else item_id
