"""Turns views into HTML, with the templates beside this module. Jinja escapes whatever comes from outside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stream_app.page.chart import HEIGHT, WIDTH

ASSETS: Final = Path(__file__).parent / "assets"

Panel = Literal[
    "figures",
    "head",
    "headline",
    "hits",
    "nobody",
    "said",
    "search",
    "shopper",
    "status",
    "title",
    "welcome",
    "who",
    "workers",
]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    return environment


def _with_code(text: str) -> Markup:
    """Returns a text in which what is in backticks is a command."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def panel(name: Panel, **views: Any) -> str:
    """Returns a part of the page as HTML."""
    return _environment().get_template(f"{name}.html").render(**views, width=WIDTH, height=HEIGHT)


@cache
def style() -> str:
    """Returns the page's style sheet."""
    return (ASSETS / "page.css").read_text(encoding="utf-8")
