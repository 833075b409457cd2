"""The JSON report: one entry per run, written after each, so that a stopped suite goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_TOTALS: Final = (
    *("events", "poison", "lost", "missed", "repeated"),
    *("wrong_answers", "wrong_states", "wrong_questions"),
)


class Report:
    """Entries by row, seed, dose and delivery; a file if one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.entries: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self.entries = json.loads(path.read_text())["runs"]

    def is_done(self, **facts: Any) -> bool:
        """Whether a run with these facts went well before."""
        return any(entry["ok"] and facts.items() <= entry.items() for entry in self.entries)

    def add(self, entry: dict[str, Any], **facts: Any) -> None:
        """Takes the place of an earlier entry with the same facts."""
        self.entries = [known for known in self.entries if not facts.items() <= known.items()]
        self.entries.append({**facts, **entry})
        if self._path is not None:
            draft = self._path.with_suffix(".tmp")
            draft.write_text(json.dumps(self.as_dict(), indent=1) + "\n")
            draft.replace(self._path)

    def as_dict(self) -> dict[str, Any]:
        """Totals, and every run."""
        ran = [entry for entry in self.entries if "events" in entry]
        totals = {name: sum(entry.get(name, 0) for entry in ran) for name in _TOTALS}
        kills = sum(entry["exits"].get("-9", 0) for entry in ran)
        ok = all(entry["ok"] for entry in self.entries)
        return {"ok": ok, "kills": kills, **totals, "runs": self.entries}
