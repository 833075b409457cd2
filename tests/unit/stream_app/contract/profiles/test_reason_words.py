"""Each code has words in each language, and they name what the reason names."""

from __future__ import annotations

import pytest

from model.profile.why.reasons import CODES
from stream_app.contract.predictions import Because
from stream_app.contract.profiles.reason_words import WORDS, Language, reason_text


@pytest.mark.parametrize("language", WORDS)
def test_every_code_has_words(language: Language) -> None:
    assert tuple(WORDS[language]) == CODES
    texts = [text for words in WORDS[language].values() for text in (words.named, words.unnamed)]
    assert all(texts)
    assert not any("{}" in words.unnamed for words in WORDS[language].values())


def test_a_reason_is_said_in_words() -> None:
    with_item = Because("goes_with", 0.4, item_id="i7")
    assert reason_text(with_item) == "people look at it together with i7"
    assert reason_text(with_item, {"i7": "Red {}"}.__getitem__) == "people look at it together with Red {}"
    assert reason_text(with_item, language="zh") == "大家常把它和i7一起看"
    assert reason_text(Because("searched_for", 0.4, query="red shoe")) == "you searched for red shoe"
    assert reason_text(Because("searched_for", 0.4)) == "it goes with your last search"
    assert reason_text(Because("category", 0.4, category="shoes")) == "it is of the same kind as shoes"
    assert reason_text(Because("popular_now", 0.4)) == "it is popular now"


def test_a_code_of_a_later_version_stands_for_itself() -> None:
    assert reason_text(Because("seen_on_tv", 0.4, item_id="i7")) == "seen_on_tv"
