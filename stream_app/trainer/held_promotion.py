"""A version that won its round while the champion is on trial: it waits, so that every trial comes to an end."""

from __future__ import annotations

from dataclasses import dataclass

from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, VersionRef


@dataclass(frozen=True, slots=True)
class HeldPromotion:
    """A version that may be promoted after the champion that it was compared with."""

    version: VersionRef
    metrics: dict[str, float]
    champion: Promotion | None

    def waits(self, settings: Settings, now: float) -> float:
        """Returns for how many seconds, from `now` (since the epoch), the champion is still on trial."""
        if self.champion is None or not settings.canary_share or not self.champion.predecessors:
            return 0.0
        return max(0.0, self.champion.promoted_at.timestamp() + settings.canary_seconds - now)
