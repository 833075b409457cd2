"""Audiences as a marketer writes them (TOML), and as records of the audiences topic have them (JSON, keyed by name)."""

from __future__ import annotations

import json
import tomllib
from typing import Any, Final

import msgspec

from model.profile.audiences import Audience, Audiences, name_problem

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Audience)


def read_audiences(text: str) -> Audiences:
    """Reads a file of audiences. Raises `ValueError`, which says all that is wrong with it, a line each."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"this is not TOML: {error}") from error
    audiences, problems = dict[str, Audience](), list[str]()
    for name, table in tables.items():
        try:
            audiences[name] = msgspec.convert(table, Audience)
            found = audiences[name].problems()
        except msgspec.ValidationError as error:
            found = [str(error)]
        problems += [f"{name}: {problem}" for problem in ([name_problem(name)] if name_problem(name) else []) + found]
    if problems:
        raise ValueError("\n".join(problems))
    return audiences


def written_audiences(audiences: Audiences) -> str:
    """Returns audiences as a file of theirs."""
    lines = list[str]()
    for name, audience in audiences.items():
        fields = msgspec.to_builtins(audience)
        lines += [f"[{_key(name)}]", *(f"{field} = {_toml(value)}" for field, value in fields.items()), ""]
    return "\n".join(lines)


def _key(name: str) -> str:
    """Returns a name as a key of TOML: quoted where it has a dot."""
    return json.dumps(name) if "." in name else name


def _toml(value: Any) -> str:
    """Returns a value as TOML has it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{field} = {_toml(one)}" for field, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def encode_audience(audience: Audience) -> bytes:
    """Returns the value of a record."""
    return _ENCODER.encode(audience)


def decode_audience(key: bytes | None, value: bytes | None) -> tuple[str, Audience | None]:
    """Returns name and audience of a record (None: it is gone). Raises `ValueError` for what is none."""
    try:
        name = (key or b"").decode()
        audience = None if value is None else _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    problems = [problem for problem in (name_problem(name), *(audience.problems() if audience else ())) if problem]
    if problems:
        raise ValueError("; ".join(problems))
    return name, audience
