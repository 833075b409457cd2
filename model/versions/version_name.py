"""The names of versions: each is a folder of the registry, a label of metrics and a word of log lines."""

from __future__ import annotations

import re
from typing import Final

LONGEST_NAME: Final = 64  # characters
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*(\.[0-9A-Za-z_-]+)*")
NAME_RULE: Final = (
    f"a version's name has 1 to {LONGEST_NAME} of A-Z, a-z, 0-9, `_`, `-` and single dots between them, and begins "
    "with a letter or a digit"
)


def is_version_name(name: str) -> bool:
    """Returns whether a version may be called so: such a name leaves no folder and starts no option."""
    return len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def quoted(text: str) -> str:
    """Returns a text of unknown origin as it may be logged: in quotes, without line breaks, cut."""
    return repr(text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…")
