"""The words of a query in any language: what is the same to a reader gives the same words.

A text is normalised (NFKC, folded case), so that full width, half width and decomposed letters are the usual ones. A
word is a run of letters, numbers and the marks on them, such as vowel signs; an underscore belongs to it, and what
nobody sees (joiners, soft hyphens) is left out. Chinese, Japanese, Thai, Lao, Khmer and Burmese put no blanks between
words: their runs, with or without blanks, become pairs of neighbouring characters, each with its marks, and a single
character stays one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final
from unicodedata import category, normalize

_SIMPLE = re.compile(r"[\0-\xAC\xAE-\u02FF\u0370-\u0482]*")  # Latin, Greek and Cyrillic: no marks, nothing unseen
_WORD = re.compile(r"\w+")
_CHARACTERS: Final = 4_096  # that are remembered; a language has fewer, but for rare Chinese ones

_BETWEEN, _BLANK, _UNSEEN, _MARK, _LETTER, _UNSPACED = range(6)  # what a character is to the words of a text

# First and last code points of the scripts that put no blanks between words, rising.
_SCRIPTS: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Chinese radicals
    (0x3005, 0x3007),  # repetition of a character, zero
    (0x3021, 0x303B),  # numerals, repetition of kana
    (0x3041, 0x30FF),  # hiragana, katakana
    (0x3105, 0x312F),  # bopomofo
    (0x31A0, 0x31BF),  # bopomofo
    (0x31F0, 0x31FF),  # katakana
    (0x3400, 0x4DBF),  # Chinese
    (0x4E00, 0x9FFF),  # Chinese
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),  # Burmese
    (0xF900, 0xFAFF),  # Chinese
    (0x1B000, 0x1B16F),  # kana
    (0x20000, 0x3FFFF),  # Chinese
)
_FIRSTS: Final = [first for first, _ in _SCRIPTS]


def words_of(text: str) -> list[str]:
    """Returns the words of a text in their order; of runs without blanks, pairs of their characters."""
    folded = text.casefold()
    if not text.isascii():
        folded = normalize("NFKC", normalize("NFKC", text).casefold())
        if not _SIMPLE.fullmatch(folded):
            return _words_of_any(folded)
    return _WORD.findall(folded)  # the same as below, in a tenth of the time


def ends_of(words: Sequence[str], most: int) -> Sequence[str]:
    """Returns the first words of a text; where any is of a script without blanks, half of them from its end.

    Chinese and Japanese name the thing last, and a pair of characters says less than a word.
    """
    if len(words) <= most or not any(_kind(word[0]) == _UNSPACED for word in words):
        return words[:most]
    return [*words[: most - most // 2], *words[-(most // 2) :]]


def _words_of_any(text: str) -> list[str]:
    words = list[str]()
    for run, unspaced in _runs(text):
        words += _pairs(run) if unspaced else ["".join(run)]
    return words


def _runs(text: str) -> list[tuple[list[str], bool]]:
    """Splits a text into runs of characters, each with its marks, and whether their script has no blanks."""
    runs = list[tuple[list[str], bool]]()
    running, after_blank = _BETWEEN, False  # what the characters of the run are that goes on
    for character in text:
        kind = _kind(character)
        if kind == _MARK and running and not after_blank:
            runs[-1][0][-1] += character
        elif kind >= _MARK:
            kind = max(kind, _LETTER)  # a mark on nothing
            if kind != running:
                runs.append(([], kind == _UNSPACED))
            runs[-1][0].append(character)
            running, after_blank = kind, False
        elif kind == _BLANK and running == _UNSPACED:
            after_blank = True
        elif kind != _UNSEEN:
            running = _BETWEEN
    return runs


def _pairs(run: Sequence[str]) -> list[str]:
    return ["".join(pair) for pair in pairwise(run)] if len(run) > 1 else list(run)


@lru_cache(_CHARACTERS)
def _kind(character: str) -> int:
    kind = category(character)
    if kind[0] in "LN":
        script = bisect_right(_FIRSTS, ord(character)) - 1
        return _UNSPACED if script >= 0 and ord(character) <= _SCRIPTS[script][1] else _LETTER
    if kind[0] == "M":
        return _MARK
    if character == "_":
        return _LETTER
    return _BLANK if character.isspace() else _UNSEEN if kind == "Cf" else _BETWEEN
