"""What a decoder is told about the events: their format, and the names that it passes over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from stream_app.contract.decoded import Contents
from stream_app.contract.event_names import MEANINGS
from stream_app.errors import SettingsInvalid
from stream_app.settings import EventFormat, Settings


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What a decoder is told; by default what holds without any setting."""

    format: EventFormat = "auto"
    meanings: Mapping[str, str] = field(default_factory=lambda: MEANINGS)  # of names, as in `event_names.MEANINGS`
    passed_over: Mapping[str, Contents] = field(default_factory=lambda: _PASSED_OVER)  # by name: it was ignored

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns what the settings say. Raises `SettingsInvalid` when an action would be ignored."""
        names = {name.strip().casefold() for name in settings.ignored_events.split(",")} - {""}
        meaningful = sorted(name for name in names if MEANINGS.get(name, "ignored") != "ignored")
        if meaningful:
            raise SettingsInvalid(
                f"NEXTACT_IGNORED_EVENTS names {meaningful[0]!r}, which is an event that nextact understands: "
                "leave it out, and do not publish such events if they are not wanted"
            )
        meanings = MEANINGS | dict.fromkeys(names, "ignored")
        return cls(settings.event_format, meanings, passed_over(meanings))

    def meaning(self, name: str) -> str | None:
        """Returns what an event's name means, in any case of letters; None: nothing is known of it."""
        return self.meanings.get(name) or self.meanings.get(name.casefold())


def passed_over(meanings: Mapping[str, str]) -> dict[str, Contents]:
    """Returns what a record says whose event is ignored, by the event's name: records without number share it."""
    return {name: Contents(ignored=(name,)) for name, meaning in meanings.items() if meaning == "ignored"}


_PASSED_OVER: Final[Mapping[str, Contents]] = passed_over(MEANINGS)
