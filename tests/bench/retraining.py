"""What retraining is worth, test-then-train in the order of events: `python -m tests.bench.retraining --events FILE`.

The log is cut into slices of equally many events. A version learns from the first slices; then every slice is foreseen
before it is learned from: by that first version, by the champion of a trainer that runs a round at the end of every
slice (the rounds and the gate of the trainer process), and by the rules, which learn from every slice. Nothing sees an
event before it has foreseen it.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click
import numpy as np
import torch

from model.data.disk_log import window_in_memory
from model.data.events import Actions
from model.data.sequences import Sequences, sequences_of
from model.errors import TooLittleData
from model.evaluation.evaluate import Evaluation, TimeSlice, evaluate
from model.evaluation.split import in_order_of_time
from model.rounds.training_round import Round, RoundConfig, train_round, unsaved
from model.versions.version import Version
from stream_app.cli.log_options import log_options
from stream_app.offline.event_files import event_file
from stream_app.offline.log_reader import LogReader

CPU: Final = torch.device("cpu")
_HEADER: Final = f"{'slice':>5} {'targets':>8} {'never':>7} {'again':>7} {'rules':>7} {'seconds':>8}  verdict before"


@click.command()
@click.option("--events", "-e", multiple=True, required=True, metavar="FILE", help="A log; repeatable.")
@log_options
@click.option("--slices", default=10, show_default=True, help="Equal parts of the log.")
@click.option("--first", default=4, show_default=True, help="Slices to begin with.")
@click.option("--most", default=RoundConfig().most_actions, show_default=True, help="Actions that a round learns from.")
@click.option("--rate", default=0.5, show_default=True, help="Learning rate of a round, as a share of the first one's.")
@click.option("--seed", default=1, show_default=True)
def main(events: tuple[str, ...], slices: int, first: int, most: int, rate: float, seed: int, **reading: Any) -> None:
    """Prints a line per slice and one JSON object."""
    torch.set_num_threads(1)
    actions = in_order_of_time(LogReader().read(event_file(path, reading) for path in events))
    ends = np.linspace(0, len(actions), slices + 1).round().astype(np.int64)[1:]
    config = RoundConfig(seed=seed, most_actions=most, warm_rate=rate)
    never = again = _version(_round(actions, int(ends[first - 1]), None, config))
    click.echo(_HEADER)
    rows, verdict, seconds = [], "", 0.0
    for number in range(first, slices):
        row = _foreseen(actions, int(ends[number - 1]), int(ends[number]), never, again)
        rows.append(row | {"slice": number + 1, "seconds": round(seconds, 1), "verdict": verdict})
        click.echo(
            f"{number + 1:5} {row['targets']:8,} {row['never']:7.4f} {row['again']:7.4f} {row['rules']:7.4f} "
            f"{seconds:8.1f}  {verdict}"
        )
        begun = time.perf_counter()
        try:
            round_ = _round(actions, int(ends[number]), again, config)
        except TooLittleData as error:
            verdict = str(error)
        else:
            verdict = round_.verdict.sentence
            again = _version(round_) if round_.verdict.promoted else again
        seconds = time.perf_counter() - begun
    click.echo(json.dumps({"recall_at_20": _means(rows), "slices": rows}))


def _round(actions: Actions, end: int, champion: Version | None, config: RoundConfig) -> Round:
    known = actions.take(np.arange(end))
    return train_round(window_in_memory(known), champion, config, device=CPU, clock=time.thread_time)


def _version(round_: Round) -> Version:
    return unsaved(round_.model, trained_until=round_.trained_until)


def _foreseen(actions: Actions, begin: int, end: int, never: Version, again: Version) -> dict[str, Any]:
    """Recall@20 of each on the events from `begin` to `end`."""
    sequences, cut = sequences_of(actions.take(np.arange(end))), int(actions.times[begin])
    first, newest = (_scored(version, sequences, cut) for version in (never, again))
    return {
        "targets": newest.targets,
        "never": first.served.recall[20],
        "again": newest.served.recall[20],
        "rules": newest.rules.recall[20],
        "never_mrr": first.served.mrr[20],
        "again_mrr": newest.served.mrr[20],
        "rules_mrr": newest.rules.mrr[20],
    }


def _scored(version: Version, sequences: Sequences, cut: int) -> Evaluation:
    return evaluate(version, TimeSlice(sequences.before(cut), sequences, cut, CPU))


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Over all targets, not over slices."""
    targets = sum(row["targets"] for row in rows)
    names = ("never", "again", "rules", "never_mrr", "again_mrr", "rules_mrr")
    return {name: round(sum(row[name] * row["targets"] for row in rows) / max(1, targets), 4) for name in names}


if __name__ == "__main__":
    main()
