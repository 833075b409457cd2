"""Searches of the simulated shop in other languages, as people there write them: in any case, width and composition.

A shopper has one language for life. How a search is written is drawn from its event id, so that a shop of one language
and of several make the same events but for their queries.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final
from unicodedata import normalize
from zlib import crc32

from stream_app.sandbox.shop import BRANDS, CATEGORIES

ENGLISH: Final = "en"
# What CATEGORIES are called, in their order; a blank stands where some write one.
WORDS: Final[dict[str, tuple[str, ...]]] = {
    ENGLISH: CATEGORIES,
    "de": (
        "Laufschuhe für Straßen", "warme Winterjacken", "Regenmäntel", "Leinenhemden", "Röhrenjeans",
        "kabellose Kopfhörer", "Mobiltelefone", "Handyhüllen", "tragbare Computer", "Taschen für Computer",
        "Kaffeemühlen", "Kaffeebohnen geröstet", "Bratpfannen", "Küchenmesser", "Schreibtischlampen",
        "Bürostühle", "Geländeräder", "Fahrradhelme", "Brettspiele", "Gartengeräte",
    ),
    "zh": (
        "男士 跑步鞋", "冬季 羽绒服", "防水 雨衣", "亚麻 衬衫", "牛仔 长裤",
        "无线 蓝牙耳机", "智能 手机", "手机 保护壳", "笔记本 电脑", "笔记本 电脑包",
        "全自动 咖啡机", "烘焙 咖啡豆", "不粘 平底锅", "厨房 刀具", "护眼 台灯",
        "办公 转椅", "山地 自行车", "骑行 头盔", "家庭 桌游", "园艺 工具",
    ),
    "ja": (
        "ランニング シューズ", "冬用 ジャケット", "レイン コート", "リネン シャツ", "デニム パンツ",
        "ワイヤレス イヤホン", "スマート フォン", "スマホ ケース", "ノート パソコン", "パソコン バッグ",
        "コーヒー メーカー", "焙煎 コーヒー豆", "フライ パン", "包丁 セット", "デスク ライト",
        "オフィス チェア", "マウンテン バイク", "自転車用 ヘルメット", "ボード ゲーム", "園芸用 道具",
    ),
    "th": (
        "รองเท้า วิ่ง", "เสื้อ กันหนาว", "เสื้อ กันฝน", "เสื้อเชิ้ต ผ้าลินิน", "กางเกง ยีนส์",
        "หูฟัง ไร้สาย", "โทรศัพท์ มือถือ", "เคส มือถือ", "คอมพิวเตอร์ พกพา", "กระเป๋า คอมพิวเตอร์",
        "เครื่อง ชงกาแฟ", "เมล็ด กาแฟคั่ว", "กระทะ ทอด", "มีด ทำครัว", "โคมไฟ ตั้งโต๊ะ",
        "เก้าอี้ สำนักงาน", "จักรยาน เสือภูเขา", "หมวก กันน็อก", "เกม กระดาน", "อุปกรณ์ ทำสวน",
    ),
}  # fmt: skip

LANGUAGES: Final = tuple(WORDS)
_WITHOUT_BLANKS: Final = ("zh", "ja", "th")
_WIDE: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


def language_of(user_id: str, languages: Sequence[str]) -> str:
    """Returns the language of a shopper, one of several."""
    return languages[crc32(user_id.encode()) % len(languages)]


def category_of(query: str) -> int:
    """Returns the category that a search is for, in whichever language."""
    plain = _plain(query)
    known = [(_plain(words), category) for several in WORDS.values() for category, words in enumerate(several)]
    return max((len(words), category) for words, category in known if plain.startswith(words))[1]


def query_in(language: str, category: int, brand: int | None, event_id: str) -> str:
    """Returns a search for a category, and a brand, as somebody wrote it."""
    words = WORDS[language][category]
    query = words if brand is None else f"{words} {BRANDS[brand]}"
    if language == ENGLISH:
        return query
    ways = random.Random(crc32(event_id.encode()))
    if language in _WITHOUT_BLANKS and ways.random() < 0.7:
        query = query.replace(words, words.replace(" ", ""))
        if ways.random() < 0.5:
            query = query.replace(" ", "")
    query = ways.choice((query, query.lower(), query.upper()))
    if language in ("zh", "ja") and ways.random() < 0.3:
        return query.translate(_WIDE)
    return normalize("NFD", query) if ways.random() < 0.3 else query


def _plain(query: str) -> str:
    return normalize("NFKC", query).casefold().replace(" ", "")
