"""The words of texts in many scripts: what readers see as the same has the same words, other texts few of them."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested

from __future__ import annotations

from itertools import combinations
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import query_text
from model.data.query_text import ends_of, words_of

QUERIES = {
    "English": ("Red Running SHOES", "Wireless headphones", "Coffee machine"),
    "German": ("Rote Laufschuhe für Männer", "Kabellose Kopfhörer", "Große Kaffeemühle"),
    "French": ("Chaussures de course légères", "Écouteurs sans fil", "Cafetière à piston"),
    "Vietnamese": ("Giày chạy bộ màu đỏ", "Tai nghe không dây", "Máy pha cà phê"),
    "Russian": ("Красные кроссовки", "Беспроводные наушники", "Йогуртница"),
    "Greek": ("Κόκκινα παπούτσια", "Ασύρματα ακουστικά", "Καφετιέρα"),
    "Arabic": ("حذاء جري أحمر", "سماعات لاسلكية", "آلة قهوة"),
    "Hindi": ("लाल दौड़ने के जूते", "वायरलेस हेडफ़ोन", "कॉफ़ी मशीन"),
    "Tamil": ("சிவப்பு காலணிகள்", "வயர்லெஸ் ஹெட்ஃபோன்", "காபி இயந்திரம்"),
    "Korean": ("빨간 운동화", "무선 헤드폰", "커피 머신"),
    "Chinese": ("红色男士跑鞋", "无线蓝牙耳机", "全自动咖啡机"),
    "Japanese": ("赤いランニングシューズ", "ワイヤレスイヤホン", "コーヒーメーカー"),
    "Thai": ("รองเท้าวิ่งสีแดง", "หูฟังไร้สาย", "เครื่องชงกาแฟ"),
    "Lao": ("ເກີບແລ່ນສີແດງ", "ຫູຟັງໄຮ້ສາຍ", "ເຄື່ອງຊົງກາເຟ"),
    "Khmer": ("ស្បែកជើងរត់ពណ៌ក្រហម", "កាសឥតខ្សែ", "ម៉ាស៊ីនឆុងកាហ្វេ"),
    "Burmese": ("အနီရောင်ပြေးဖိနပ်", "ကြိုးမဲ့နားကြပ်", "ကော်ဖီစက်"),
}
ALL = [text for texts in QUERIES.values() for text in texts]
UNSPACED = ("Chinese", "Japanese", "Thai", "Lao", "Khmer", "Burmese")
WIDE = str.maketrans({code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000})


def shared(one: str, other: str) -> float:
    """The share of the words of both texts that both have."""
    words, others = set(words_of(one)), set(words_of(other))
    return len(words & others) / len(words | others)


@pytest.mark.parametrize("text", ALL)
def test_a_text_written_in_other_ways_has_the_same_words(text: str) -> None:
    ways = [
        *(normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
        *(text.upper(), text.lower(), text.title(), normalize("NFD", text.upper())),
        *(text.translate(WIDE), f"  {text}!", text.replace(" ", " - ")),
        *(text.replace(" ", "\N{NO-BREAK SPACE}"), text + "\N{ZERO WIDTH NON-JOINER}"),
    ]
    assert [words_of(way) for way in ways] == [words_of(text)] * len(ways)
    assert words_of(text)


@pytest.mark.parametrize("language", UNSPACED)
def test_blanks_do_not_count_where_a_script_has_none(language: str) -> None:
    for text in QUERIES[language]:
        for cut, character in enumerate(text):
            if category(character) == "Lo":  # a blank before a mark would take it from its letter
                assert words_of(f"{text[:cut]} {text[cut:]}") == words_of(text)


def test_half_width_kana_are_kana() -> None:
    assert words_of("ﾜｲﾔﾚｽ ｲﾔﾎﾝ ｶﾞﾗｽ") == words_of("ワイヤレスイヤホンガラス")


@pytest.mark.parametrize("language", QUERIES)
def test_texts_on_other_things_share_few_words(language: str) -> None:
    for one, other in combinations(QUERIES[language], 2):
        assert shared(one, other) < 0.2, (one, other)


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [
        ("红色男士跑鞋", "男士跑鞋", 0.5),
        ("无线蓝牙耳机", "蓝牙耳机", 0.5),
        ("หูฟังไร้สาย", "หูฟังไร้สายสีดำ", 0.5),
        ("ワイヤレスイヤホン", "イヤホン", 0.3),
        ("rote Schuhe", "Schuhe", 0.5),
    ],
)
def test_texts_on_nearly_the_same_share_many(one: str, other: str, least: float) -> None:
    assert shared(one, other) >= least


def test_the_words_by_hand() -> None:
    assert words_of("Straße STRASSE") == ["strasse", "strasse"]
    assert words_of("हिन्दी जूते") == ["हिन्दी", "जूते"], "not cut at vowel signs"
    assert words_of("iPhone手机壳 15") == ["iphone", "手机", "机壳", "15"]
    assert words_of("茶") == ["茶"]
    assert words_of("หูฟัง") == ["หูฟั", "ฟัง"]
    assert words_of("می\u200cخواهم") == words_of("میخواهم")
    assert words_of("x\u0301_1 ①") == ["x\u0301_1", "1"]
    assert words_of("?!… 😀") == words_of("") == []


@given(st.text(max_size=60))
def test_the_short_way_gives_the_same_words(text: str) -> None:
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    assert words_of(text) == query_text._words_of_any(folded)


@given(st.text(st.characters(max_codepoint=0x17FF), max_size=60))
def test_nothing_is_cut_at_a_mark_and_no_letter_is_lost(text: str) -> None:
    words = words_of(text)
    assert all(words)
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    letters = {character for character in folded if character.isalnum()}
    assert letters <= set("".join(words))


@given(st.text(max_size=40))
def test_what_was_normalised_stays_as_it_is(text: str) -> None:
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    assert words_of(folded) == words_of(text)


def test_of_a_long_text_both_ends_stay_where_there_are_no_blanks() -> None:
    words = words_of("男士轻便透气防滑耐磨减震专业马拉松跑鞋")
    assert ends_of(words, 12) == [*words[:6], *words[-6:]]
    assert words[-1] == "跑鞋"
    plain = words_of("a b c d e f g h i j k l m n o p")
    assert ends_of(plain, 12) == plain[:12]
    assert ends_of(words[:12], 12) == words[:12]
