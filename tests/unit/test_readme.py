"""The documents say what is there: the README's size and commands, its Chinese twin, links, rooms and modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.unit.builders.commands import check_command

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md")])
ROOMS = sorted(path.parent for package in ("model", "stream_app") for path in ROOT.glob(f"{package}/*/__init__.py"))
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_readme_is_one_page() -> None:
    assert len(ENGLISH.read_bytes()) <= 10_000


def test_the_chinese_page_has_the_same_commands_links_and_tables() -> None:
    english, chinese = text(ENGLISH), text(CHINESE)
    assert FENCED.findall(chinese) == FENCED.findall(english)
    others = {"README.md", "README.zh-CN.md"}
    links = [set(re.findall(r"\]\(([^)]+)\)", page)) - others for page in (english, chinese)]
    assert links[0] == links[1]
    for pattern in (r"^#+ ", r"^\|.*\|$"):
        assert len(re.findall(pattern, chinese, re.M)) == len(re.findall(pattern, english, re.M))
    assert set(re.findall(r"`[^`\n]+`", english)) == set(re.findall(r"`[^`\n]+`", chinese))


def test_the_chinese_page_has_the_same_figures() -> None:
    rows = [
        [re.findall(r"\d+\.\d+|\d{2},\d{3}", line) for line in text(page).splitlines() if line.startswith("|")]
        for page in (ENGLISH, CHINESE)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", text(path)):
        assert link.startswith("https://") or (path.parent / link).exists(), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    lines = re.findall(
        r"^(?:\.venv/bin/|torchrun .*)?nextact ([a-z-]+.*)$", "\n".join(FENCED.findall(text(path))), re.M
    )
    lines += re.findall(r"`nextact ([a-z][^`]*)`", FENCED.sub("", text(path)))
    for line in lines:
        check_command(line)


def test_every_room_is_on_the_way_once_and_in_the_table_once() -> None:
    page = text(ROOT / "stream_app" / "README.md")
    names = [str(room.relative_to(ROOT)) for room in ROOMS]
    assert sorted(re.findall(r"\*\*`((?:model|stream_app)/[a-z_]+)`\*\*", page)) == names
    assert sorted(re.findall(r"^\| `([a-z_/]+)` \|", page, re.M)) == names


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_every_room_says_what_it_is(room: Path) -> None:
    assert re.match(r'"""[A-Z].+\.\n?"""$', text(room / "__init__.py").strip(), re.S)


def test_modules_that_are_named_exist() -> None:
    page = text(ROOT / "stream_app" / "README.md")
    modules = {path.stem for package in ("model", "stream_app") for path in (ROOT / package).rglob("*.py")}
    rooms = {room.name for room in ROOMS} | {"model", "stream_app"}
    named = {word for words in re.findall(r"`([a-z_/0-9]+)`", page) for word in words.split("/")}
    assert named <= modules | rooms
