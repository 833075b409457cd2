"""Says in a line how often each was right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stream_app.contract.demo.headline import Headline, TellerShare
from stream_app.sandbox.story.outcomes import NAMES, Columns, Share, Teller
from stream_app.sandbox.story.story import Story

NEWEST: Final = 10_000  # targets of the headline, at most
SIMULATED: Final = "simulated shop"  # stands beside every figure that is no shop's own


def tellers_of(story: Story) -> Sequence[Teller]:
    """Returns who is compared."""
    return ("nextact", "rival", "rules", "popularity") if story.has_rival else ("nextact", "rules", "popularity")


def headline(story: Story, *, simulated: bool) -> str:
    """Returns the line for a terminal; empty while nothing is counted."""
    columns = story.outcomes.columns(NEWEST)
    if not len(columns):
        return ""
    shares = ", ".join(f"{NAMES[teller]} {percent(columns.share(teller))}" for teller in tellers_of(story))
    mark = f"{SIMULATED}: " if simulated else ""
    by = "" if columns.trained else " (no version is trained yet: nextact's rules answer)"
    return f"{mark}of the last {len(columns):,} next items, found among 20: {shares}{by}"


def page_headline(story: Story, *, simulated: bool) -> Headline | None:
    """Returns the same for the page; None while nothing is counted."""
    columns = story.outcomes.columns(NEWEST)
    if not len(columns):
        return None
    tellers = [(NAMES[teller], columns.share(teller)) for teller in tellers_of(story)]
    return Headline(
        targets=len(columns),
        simulated=simulated,
        tellers=[TellerShare(name, share.mean, share.low, share.high) for name, share in tellers],
        note="" if columns.trained else "No version is trained yet: nextact's rules answer.",
    )


def figures(columns: Columns, tellers: Sequence[Teller]) -> dict[str, Any]:
    """Returns the shares as JSON values."""
    return {"targets": len(columns)} | {teller: _rounded(columns.share(teller)) for teller in tellers}


def percent(share: Share) -> str:
    """Returns a share and its interval in per cent."""
    return f"{100 * share.mean:.1f} % ({100 * share.low:.1f}-{100 * share.high:.1f})"


def points(share: Share) -> str:
    """Returns a difference of shares and its interval in points."""
    return f"{100 * share.mean:+.1f} points ({100 * share.low:+.1f} to {100 * share.high:+.1f})"


def _rounded(share: Share) -> dict[str, float]:
    return {"share": round(share.mean, 4), "low": round(share.low, 4), "high": round(share.high, 4)}
