"""What segments foretell, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from model.evaluation.segment_quality import GroupRates, SegmentQuality, segment_quality
from model.evaluation.split import Split
from model.profile_fit.fit_segments import fit_segments
from model.rounds.fit_model import Model
from model.versions.version import Version
from stream_app.offline.text_table import table

COLUMNS: Final = ("users", "buy, lift", "within a day, lift")


@dataclass(frozen=True, slots=True)
class SegmentsReport:
    """The figures of a version's segments."""

    quality: SegmentQuality

    def lines(self) -> Iterator[str]:
        """Yields the lines for a terminal."""
        quality = self.quality
        rates = (quality.purchases, quality.returns)
        rows = {
            name: (f"{quality.sizes[group]:,}", *(lift_cell(each, group) for each in rates))
            for group, name in enumerate(quality.names)
        }
        yield from table(COLUMNS, rows, "segments")
        yield (
            "How much more often than all users those of a segment bought after the test began, and came within a day "
            f"of it, with 95 % intervals. {quality.flips:.1f} changes of segment per 100 events of a user."
        )
        for what, ours, thirds in (
            ("who buys", quality.purchases, quality.thirds_purchases),
            ("who comes within a day", quality.returns, quality.thirds_returns),
        ):
            if ours is not None and thirds is not None:
                yield f"Spread of the lifts, {what}: {spread_words(ours, thirds)}."

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return asdict(self.quality)


def report_segments(model: Version | Model, split: Split, seed: int) -> SegmentsReport | None:
    """Measures a model's segments on a split, fitted to what is known where the model has none.

    None: times are made up, or the users are too few or too much the same.
    """
    if not split.timed:
        return None
    segments = model.profile.segments or fit_segments(model.vocabulary, split.known, None, seed=seed)
    if segments is None:
        return None
    found = segment_quality(segments, model.vocabulary, split.holdout.sequences, split.cut)
    return None if found is None else SegmentsReport(found)


def lift_cell(rates: GroupRates | None, group: int) -> str:
    """Returns a group's lift and its interval; "-": nobody can tell."""
    if rates is None or group >= len(rates.lifts) or not rates.users[group]:
        return "-"
    return f"{rates.lifts[group]:.2f} ({rates.low[group]:.2f} to {rates.high[group]:.2f})"


def spread_words(ours: GroupRates, thirds: GroupRates) -> str:
    """Returns how far the lifts of segments lie apart, beside other groups."""
    return (
        f"{ours.spread:.2f} (random groups up to {ours.spread_by_chance:.2f}); "
        f"{len(thirds.users)} groups of recency, frequency and value {thirds.spread:.2f} "
        f"(up to {thirds.spread_by_chance:.2f})"
    )
