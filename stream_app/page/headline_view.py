"""What the demo's headline says: how often each of those who are compared was right, ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass

from stream_app.contract.demo.headline import Headline, TellerShare
from stream_app.page import figures

_INTERVAL = "Intervals of 95 %, over users."


@dataclass(frozen=True, slots=True)
class TellerRow:
    """One of those who are compared."""

    name: str
    value: str
    interval: str
    width: float  # per cent
    low: float  # where the interval begins, per cent
    span: float  # how wide it is


@dataclass(frozen=True, slots=True)
class HeadlineView:
    """The headline."""

    targets: str
    simulated: bool
    rows: list[TellerRow]
    note: str


def headline_view(headline: Headline | None) -> HeadlineView | None:
    """Returns what there is to say; None before anything was counted."""
    if headline is None or not headline.targets:
        return None
    note = f"{headline.note}. {_INTERVAL}" if headline.note else _INTERVAL
    rows = [_row(teller) for teller in headline.tellers]
    return HeadlineView(figures.count(headline.targets), headline.simulated, rows, note[:1].upper() + note[1:])


def _row(teller: TellerShare) -> TellerRow:
    low, high = round(100 * teller.low, 1), round(100 * teller.high, 1)
    interval = f"{low:.1f} to {high:.1f} %"
    width = round(100 * teller.share, 1)
    return TellerRow(teller.name, figures.percent(teller.share), interval, width, low, round(high - low, 1))
