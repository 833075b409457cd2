"""What a version learned from, how its training went and how good it is: for people, beside the weights.

No worker reads it. `card.md` says it in words; `report.json` has the figures that are plotted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.log_summary import LogSummary
from model.data.sequences import Sequences
from model.evaluation.evaluate import Evaluation
from model.evaluation.quality import slices
from model.evaluation.ranking import LIST_SIZE, Holdout, ranking
from model.evaluation.split import Split
from model.training.fit_run import Progress

_POINTS: Final = 100  # points of a stage's curve, at most


class DataWindow(msgspec.Struct, frozen=True):
    """Size and span of the log of a round; times in ms since the epoch."""

    events: int
    users: int
    items: int
    since: int
    held_out_from: int
    until: int


class SliceQuality(msgspec.Struct, frozen=True):
    """Quality on a slice of the held-out targets."""

    kind: str  # what the targets are sliced by
    name: str
    targets: int
    recall: float  # at 20
    mrr: float  # at 20
    rules_recall: float


class LossPoint(msgspec.Struct, frozen=True):
    """Mean losses of the steps since the point before it."""

    stage: str
    step: int
    losses: dict[str, float]


class TrainingReport(msgspec.Struct, frozen=True):
    """The content of `report.json`."""

    window: DataWindow
    parts: list[SliceQuality]
    curve: list[LossPoint]


class LossCurve:
    """The losses of a round, averaged to at most so many points per stage."""

    def __init__(self) -> None:
        self.points: list[LossPoint] = []
        self._since: list[dict[str, float]] = []

    def add(self, stage: str, progress: Progress) -> None:
        """Adds the losses of a step."""
        self._since.append(progress.losses)
        if progress.step % -(-progress.steps // _POINTS) == 0 or progress.step == progress.steps:
            means = {name: float(np.mean([losses[name] for losses in self._since])) for name in progress.losses}
            self.points.append(LossPoint(stage, progress.step, means))
            self._since = []


def data_window(summary: LogSummary, cut: int) -> DataWindow:
    """Describes the log of a round of which the actions from `cut` (ms) on were held out."""
    since, until = summary.span
    return DataWindow(
        events=summary.events,
        users=summary.users,
        items=len(summary.items),
        since=since,
        held_out_from=cut,
        until=until,
    )


def quality_by_slice(
    evaluation: Evaluation, sequences: Sequences, known_items: NDArray[np.uint64], cut: int
) -> Iterator[SliceQuality]:
    """Yields the quality by position, by day, by whether training had seen the user and the item, and by whether the
    user had touched it, of a model that was evaluated on some sequences; it knows the log before the cut and the items
    in it."""
    split = Split(sequences.before(cut), [], Holdout(sequences, evaluation.positions), cut, timed=True)
    for kind, slices_of_kind in slices(split, known_items).items():
        for name, members in slices_of_kind.items():
            served = ranking(evaluation.served_ranks[members])
            rules = ranking(evaluation.rules_ranks[members])
            targets = int(members.sum())
            yield SliceQuality(
                kind, name, targets, served.recall[LIST_SIZE], served.mrr[LIST_SIZE], rules.recall[LIST_SIZE]
            )


def card(name: str, report: TrainingReport, verdict: str, metrics: Mapping[str, float]) -> str:
    """Writes the version's card, in Markdown."""
    window = report.window
    lines = [
        f"# {name}",
        "",
        f"Verdict: {verdict}.",
        "",
        "## Data",
        "",
        f"{window.events:,} events of {window.users:,} users on {window.items:,} items, from {_day(window.since)} to "
        f"{_day(window.until)}. The verdict is about the events from {_day(window.held_out_from)} on, which the "
        "version had not seen then; a promoted one has learned from them since.",
        "",
        "## Quality on the held-out events",
        "",
        "Full ranking, unseen targets are misses, ties count against the model; in per cent. Unseen is also what "
        "appeared in these events: the version knew nothing of their time. Of users drawn at random where there are "
        f"many; standard error of Recall@20: {100 * metrics.get('recall@20_error', math.nan):.2f}.",
        "",
        "| | targets | Recall@20 | MRR@20 | Recall@20 of the rules |",
        "|---|---|---|---|---|",
        _row("all", metrics["targets"], metrics["recall@20"], metrics["mrr@20"], metrics["rules_recall@20"]),
        *(_row(f"{part.kind}: {part.name}", part.targets, part.recall, part.mrr, part.rules_recall)
          for part in report.parts),
        "",
        f"Next type: right in {100 * metrics['type_accuracy']:.1f} %, log-loss {metrics['type_log_loss']:.3f} nats "
        f"(a chain of types: {metrics['rules_type_log_loss']:.3f}).",
        *_purchase_line(metrics),
        "",
        "## Intended use",
        "",
        "To foresee the next actions of this shop's visitors and to order items for them. Not to decide about people: "
        "not for prices, credit or access, and not for other shops than the one whose log it learned from. It knows "
        "items by their ids and users only by what they did; users and items that it has not seen are served from "
        "their first event on, as well as the table above says.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _purchase_line(metrics: Mapping[str, float]) -> list[str]:
    """Says how good the purchase probability was; nothing where the held-out time was too short to tell."""
    if "purchase_log_loss" not in metrics:
        return []
    return [
        "",
        f"A purchase soon: log-loss {metrics['purchase_log_loss']:.4f} nats (a chain of types: "
        f"{metrics['rules_purchase_log_loss']:.4f}).",
    ]


def _row(name: str, targets: float, *shares: float) -> str:
    return f"| {name} | {targets:,.0f} | " + " | ".join(f"{100 * share:.2f}" for share in shares) + " |"


def _day(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
