"""Benchmarks beside peers: `python -m tests.bench PART ...`, or `all`. On a broker of its own where a part needs one.

Each part prints ratios first, because machines differ, then medians of several repeats with their spread. Peers and
ours take turns, after a repeat that does not count. The last line is one JSON object with all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch

from stream_app.sandbox.cluster import Broker
from tests.bench import data_sets
from tests.bench.backbones import backbones
from tests.bench.batches import batches
from tests.bench.canary import canary
from tests.bench.catalogue import catalogue
from tests.bench.cold import cold
from tests.bench.fresh import fresh
from tests.bench.fusion import fusion
from tests.bench.gate import gate
from tests.bench.incremental import incremental
from tests.bench.items import items
from tests.bench.live import live
from tests.bench.past import past
from tests.bench.per_user import memory
from tests.bench.preferences import preferences
from tests.bench.profiles import profiles
from tests.bench.quality import quality
from tests.bench.question_costs import question_costs
from tests.bench.questions import questions
from tests.bench.rank import rank
from tests.bench.reasons import reasons
from tests.bench.recovery import recovery
from tests.bench.reload import reload
from tests.bench.round import round_of
from tests.bench.sasrec import sasrec
from tests.bench.scores import scores
from tests.bench.segments import segments
from tests.bench.session_knn import session_knn
from tests.bench.signals import signals
from tests.bench.streams import HEAP_MB, Streams
from tests.bench.sustainable import sustainable
from tests.bench.throughput import throughput
from tests.bench.trainer_quality import trainer_quality
from tests.bench.training import training
from tests.bench.variants import VARIANTS

Options = argparse.Namespace
IN_PROCESS: Final[dict[str, Callable[[Options], Any]]] = {
    "batches": batches,
    "incremental": incremental,
    "catalogue": catalogue,
    "training": training,
    "round": round_of,
    "backbones": backbones,
    "fusion": fusion,
    "gate": gate,
    "canary": canary,
    "signals": signals,
    "rank": rank,
    "question-costs": question_costs,
}
ON_A_BROKER: Final[dict[str, Callable[[Streams, Options], Any]]] = {
    "sustainable": sustainable,
    "throughput": throughput,
    "reload": reload,
    "recovery": recovery,
    "cold": cold,
    "memory": memory,
    "items": items,
    "past": past,
    "fresh": fresh,
    "questions": questions,
    "profiles": profiles,
}
ON_LOGS: Final[dict[str, Callable[[Options], Any]]] = {
    "quality": quality,
    "live": live,
    "session-knn": session_knn,
    "sasrec": sasrec,
    "scores": scores,
    "segments": segments,
    "trainer-quality": trainer_quality,
    "reasons": reasons,
    "preferences": preferences,
}
PARTS: Final = [*ON_A_BROKER, *IN_PROCESS]  # of `all`: what is measured on logs takes hours, and needs them

WITHOUT_BROKER: Final = IN_PROCESS | ON_LOGS


def main() -> None:
    """Runs the chosen parts; Ctrl-C and SIGTERM end brokers, workers and peers with it."""
    options = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell has it ignored in the background
        signal.signal(number, signal.default_int_handler)
    try:
        run(options)
    except KeyboardInterrupt:
        raise SystemExit("stopped; what it had started has ended") from None


def run(options: argparse.Namespace) -> None:
    """Runs the chosen parts one after the other, and prints what they found."""
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        streams: Streams | None = None
        for part in PARTS if "all" in options.parts else dict.fromkeys(options.parts):
            print(f"\n== {part}; load of the machine {_load()}", flush=True)
            if part in WITHOUT_BROKER:
                found[part] = WITHOUT_BROKER[part](options)
            else:
                streams = streams or started(stack, options.device)
                found[part] = ON_A_BROKER[part](streams, options)
    print(f"\nload of the machine at the end {_load()}")
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    """All options of all parts."""
    found = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parts = [*PARTS, *ON_LOGS, "all"]
    found.add_argument("parts", nargs="+", choices=parts, metavar="PART", help=", ".join(parts))
    found.add_argument("--events", type=int, default=200_000)
    found.add_argument("--users", type=int, default=20_000)
    found.add_argument("--items", type=int, default=10_000)
    found.add_argument("--repeats", type=int, help="that count; default: 3 on a broker, more in one process")
    found.add_argument("--json", type=Path, metavar="FILE", help="writes the figures there too")
    found.add_argument("--device", default="cpu", help="of workers and of the parts in one process: cpu, cuda")
    found.add_argument("--threads", type=int, default=1, help="of PyTorch, of the parts in one process")
    found.add_argument(
        "--only",
        action="append",
        metavar="WORD",
        help="sustainable, throughput: only who has it in the name, or is it; quality, session-knn, sasrec, "
        f"trainer-quality, scores, segments: a data set, of {', '.join(data_sets.ALL_NAMES)}",
    )
    data_sets.add_options(found)
    found.add_argument("--quick", action="store_true", help="sustainable: fewer rates; questions: short runs")
    found.add_argument("--rates", type=float, nargs="+", metavar="RATE", help="sustainable: events/s offered to all")
    found.add_argument(
        "--with",
        dest="variants",
        nargs="+",
        default=[],
        choices=list(VARIANTS),
        help="sustainable, throughput: ours with these settings too",
    )
    found.add_argument("--scaling", action="store_true", help="throughput: by partitions and workers too")
    found.add_argument("--peer-events", type=int, default=5_000, help="throughput: of the slow peer")
    found.add_argument("--seconds", type=float, default=10.0, help="reload: a third of a run")
    found.add_argument("--sizes", type=int, nargs="+", help="recovery: users; catalogue: items; instead of the default")
    found.add_argument(
        "--actions",
        type=float,
        help="recovery, memory: of a stored user, in the mean (10); round: of the log (300,000)",
    )
    found.add_argument("--stock-users", type=int, default=200_000, help="recovery: the most that the peer is given")
    found.add_argument("--memory-users", type=int, default=200_000, help="memory: in the engines")
    found.add_argument("--catalogue", type=int, default=0, help="batches: items of a catalogue to compare with none")
    found.add_argument("--batch", type=int, help="catalogue: queries at once; training: steps of a batch")
    found.add_argument("--train-events", type=int, default=50_000, help="training: of the log")
    found.add_argument("--units", type=int, default=128, help="training: width and hidden state")
    found.add_argument("--log", help="backbones: a log of events to train on, for a column of quality; takes long")
    return found


def started(stack: ExitStack, device: str) -> Streams:
    """A broker in a folder that is removed at the end."""
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextact-bench-")))
    return Streams(stack.enter_context(Broker(place / "kafka", heap_mb=HEAP_MB)), place, device)


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
