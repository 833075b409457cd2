"""Searches of the simulated shop in other languages: of the same things, however they are written."""

from __future__ import annotations

from collections import Counter
from unicodedata import normalize

import pytest

from model.data.query_text import words_of
from stream_app.sandbox.languages import LANGUAGES, WORDS, category_of, language_of, query_in
from stream_app.sandbox.shop import CATEGORIES
from stream_app.sandbox.simulate import Shop


def test_a_search_names_its_category_and_often_a_brand() -> None:
    assert query_in("en", 0, None, "e") == "running shoes"
    assert query_in("en", 0, 3, "e") == "running shoes Dunmore"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_search_is_for_its_category_however_it_is_written(language: str) -> None:
    assert len(set(WORDS[language])) == len(CATEGORIES)
    for category in range(len(CATEGORIES)):
        written = {query_in(language, category, category % 25, f"e{number}") for number in range(60)}
        assert len(written) == 1 if language == "en" else len(written) >= 3
        assert {category_of(query) for query in written} == {category}
        if language != "en":
            words = [set(words_of(query)) for query in written]
            assert min(len(one & words[0]) / len(one | words[0]) for one in words) >= 0.7
    everything = [query_in(language, category, None, f"e{number}") for category in range(20) for number in range(60)]
    assert any(normalize("NFC", query) != query for query in everything) is (language in ("de", "ja"))


def test_shops_of_several_languages_differ_by_their_queries_alone() -> None:
    english = list(Shop(1, start=1.7e9, users=60).events(2000))
    several = list(Shop(1, start=1.7e9, users=60, languages=("en", "de", "zh")).events(2000))
    for one, other in zip(english, several, strict=True):
        assert {**one, "query": None} == {**other, "query": None} if "query" in one else one == other
    spoken = Counter(language_of(event["user_id"], ("en", "de", "zh")) for event in english if "query" in event)
    assert min(spoken.values()) > 60
    assert [one["query"] for one in english if "query" in one] != [one["query"] for one in several if "query" in one]
