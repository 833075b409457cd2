"""The words for reasons, by code: in predictions there are only the codes, so that no worker writes sentences.

Another program takes them from `deploy/contract/reasons.json`, or writes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from stream_app.contract.predictions import Because

Language = Literal["en", "zh"]


class Words(msgspec.Struct, frozen=True):
    """What a code says: of something that the reason names, which stands for {}, and of nothing in particular."""

    named: str
    unnamed: str


WORDS: Final[dict[Language, dict[str, Words]]] = {
    "en": {
        "viewed": Words("you have looked at it", "you have looked at it"),
        "goes_with": Words("people look at it together with {}", "people look at it together with what you look at"),
        "bought_together": Words("people who take {} go on to it", "it goes on with what you take"),
        "popular_now": Words("it is popular now", "it is popular now"),
        "like_what_you_view": Words("it is like {}", "it is like what you look at"),
        "category": Words("it is of the same kind as {}", "it is of the kind that you look at"),
        "searched_for": Words("you searched for {}", "it goes with your last search"),
    },
    "zh": {
        "viewed": Words("您看过它", "您看过它"),
        "goes_with": Words("大家常把它和{}一起看", "大家常把它和您看的商品一起看"),
        "bought_together": Words("选了{}的人也会选它", "它常与您选的商品一起买"),
        "popular_now": Words("它现在很受欢迎", "它现在很受欢迎"),
        "like_what_you_view": Words("它和{}相似", "它和您看的商品相似"),
        "category": Words("它和{}是同一类", "它是您常看的一类"),
        "searched_for": Words("您搜索过{}", "它符合您最近的搜索"),
    },
}


def reason_text(because: Because, name_of: Callable[[str], str] = str, language: Language = "en") -> str:
    """Returns a reason in words; `name_of` says what an item is called. A code that is not known stands for itself."""
    words = WORDS[language].get(because.code)
    if words is None:
        return because.code
    named = name_of(because.item_id) if because.item_id is not None else because.query or because.category
    return words.named.replace("{}", named) if named else words.unnamed
