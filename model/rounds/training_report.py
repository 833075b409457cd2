"""What a version learned from, how its training went and what the gate found: for people, beside the weights.

No worker reads it; `card.md` says it in words, `report.json` has the figures of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np

from model.data.event_log import EventLog, distinct_items, parts, span
from model.data.sequences import Sequences
from model.evaluation.evaluate import Evaluation
from model.evaluation.quality import slices
from model.evaluation.ranking import LIST_SIZE, Holdout, ranking
from model.evaluation.split import Split
from model.training.fit_network import Progress

CARD: Final = "card.md"
REPORT: Final = "report.json"
_POINTS: Final = 100  # of a stage's curve, at most


class DataWindow(msgspec.Struct, frozen=True):
    """The log of a round; times in ms since the epoch."""

    events: int
    users: int
    items: int
    since: int
    held_out_from: int
    until: int


class PartQuality(msgspec.Struct, frozen=True):
    """Quality on a part of the held-out targets."""

    kind: str  # of the part: by what the targets are told apart
    name: str
    targets: int
    recall: float  # at 20
    mrr: float  # at 20
    rules_recall: float


class Point(msgspec.Struct, frozen=True):
    """Mean losses of the steps since the point before."""

    stage: str
    step: int
    losses: dict[str, float]


class TrainingReport(msgspec.Struct, frozen=True):
    """Content of `report.json`."""

    window: DataWindow
    parts: list[PartQuality]
    curve: list[Point]


class Curve:
    """The losses of a training, thinned as they come."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._since: list[dict[str, float]] = []

    def add(self, stage: str, progress: Progress) -> None:
        """Takes in a step."""
        self._since.append(progress.losses)
        if progress.step % -(-progress.steps // _POINTS) == 0 or progress.step == progress.steps:
            means = {name: float(np.mean([losses[name] for losses in self._since])) for name in progress.losses}
            self.points.append(Point(stage, progress.step, means))
            self._since = []


def window_of(log: EventLog, cut: int) -> DataWindow:
    """The window of a round on a log of which what happened from `cut` (ms) on was held out."""
    since, until = span(log)
    return DataWindow(
        events=len(log),
        users=sum(len(part.offsets) - 1 for part in parts(log)),
        items=len(distinct_items(log)),
        since=since,
        held_out_from=cut,
        until=until,
    )


def parts_of(evaluation: Evaluation, sequences: Sequences, known: EventLog, cut: int) -> Iterator[PartQuality]:
    """The quality by position, by day, and on what was and what was not seen in training, of a model that knows the
    log before the cut and was evaluated on some sequences of it."""
    split = Split(sequences.before(cut), [], Holdout(sequences, evaluation.positions), cut, timed=True)
    for kind, found in slices(split, distinct_items(known)).items():
        for name, chosen in found.items():
            served = ranking(evaluation.served_ranks[chosen])
            rules = ranking(evaluation.rules_ranks[chosen])
            yield PartQuality(
                kind, name, int(chosen.sum()), served.recall[LIST_SIZE], served.mrr[LIST_SIZE], rules.recall[LIST_SIZE]
            )


def card(name: str, report: TrainingReport, verdict: str, metrics: Mapping[str, float]) -> str:
    """The version's card, in Markdown."""
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
        "Full ranking, unseen targets are misses, ties count against the model; in per cent.",
        "",
        "| | targets | Recall@20 | MRR@20 | Recall@20 of the rules |",
        "|---|---|---|---|---|",
        _row("all", metrics["targets"], metrics["recall@20"], metrics["mrr@20"], metrics["rules_recall@20"]),
        *(_row(f"{part.kind}: {part.name}", part.targets, part.recall, part.mrr, part.rules_recall)
          for part in report.parts),
        "",
        f"Next type: right in {100 * metrics['type_accuracy']:.1f} %, log-loss {metrics['type_log_loss']:.3f} nats "
        f"(a chain of types: {metrics['rules_type_log_loss']:.3f}).",
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


def _row(name: str, targets: float, *shares: float) -> str:
    return f"| {name} | {targets:,.0f} | " + " | ".join(f"{100 * share:.2f}" for share in shares) + " |"


def _day(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
