"""How well preferences foresee what users turn to, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from model.evaluation.preference_quality import Foresight, preference_quality
from model.evaluation.split import Split
from model.profile_fit.fit_preferences import fit_preferences
from model.rounds.fit_model import Model
from model.training.fit_run import FitRun
from model.versions.version import Version
from stream_app.offline.text_table import table

TASKS: Final = {
    "next_category": "category of the next item",
    "next_brand": "brand of the next item",
    "next_price_band": "price band of the next item",
    "purchase_category": "category of the next purchase",
    "purchase_brand": "brand of the next purchase",
    "purchase_week_price_band": "price band of the next purchase, within 7 days",
}
_CONTENDERS: Final = {
    "nextact": "preferences",
    "counts": "counts alone",
    "last": "the last one",
    "popularity": "popularity",
}
_COLUMNS: Final = tuple(f"{name}: {figure}" for name in _CONTENDERS.values() for figure in ("log-loss", "hits"))


@dataclass(frozen=True, slots=True)
class PreferencesReport:
    """The foresights by task and by contender."""

    tasks: Mapping[str, Mapping[str, Foresight]]

    def lines(self) -> Iterator[str]:
        """Yields the lines for a terminal."""
        rows = {
            TASKS[task]: tuple(cell for name in _CONTENDERS for cell in _cells(by_contender[name]))
            for task, by_contender in self.tasks.items()
        }
        yield from table(_COLUMNS, rows, "what users turn to")
        yield (
            "Log-loss in nats; hits: how often it is among the first 3, of price bands the first one, in per cent. "
            "All but popularity are blended with popularity as far as training says."
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {
            task: {
                name: {key: round(value, 6) for key, value in asdict(found).items()}
                for name, found in by_contender.items()
            }
            for task, by_contender in self.tasks.items()
        }


def report_preferences(model: Version | Model, split: Split, run: FitRun) -> PreferencesReport | None:
    """Measures a model's preferences on a split, fitted to what is known where the model has none; None: the log says
    too little of categories, brands and prices."""
    fitted = model.profile.preferences
    if fitted is None:
        fitted = fit_preferences(model.network, model.vocabulary, split.known, run)
    tasks = preference_quality(model.network, model.vocabulary, fitted, split.holdout.sequences, split.cut)
    return PreferencesReport(tasks) if tasks else None


def _cells(found: Foresight) -> tuple[str, str]:
    return f"{found.log_loss:.4f}", f"{100 * found.recall:.2f}"
