"""Benchmarks beside peers: `python -m tests.bench PART ...`, or `all`. On a broker of its own where a part needs one.

Each part prints ratios first, because machines differ, then medians of several repeats with their spread. Peers and
ours take turns, after a repeat that does not count. The last line is one JSON object with all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch

from stream_app.broker import Broker
from tests.bench.backbones import backbones
from tests.bench.fusion import fusion
from tests.bench.streams import Streams
from tests.bench.throughput import throughput

Options = argparse.Namespace
IN_PROCESS: Final[dict[str, Callable[[Options], Any]]] = {
    "backbones": backbones,
    "fusion": fusion,
}
ON_A_BROKER: Final[dict[str, Callable[[Streams, Options], Any]]] = {
    "throughput": throughput,
}
PARTS: Final = [*ON_A_BROKER, *IN_PROCESS]


def main() -> None:
    """Runs the chosen parts one after the other."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        streams: Streams | None = None
        for part in PARTS if "all" in options.parts else dict.fromkeys(options.parts):
            print(f"\n== {part}; load of the machine {_load()}", flush=True)
            if part in IN_PROCESS:
                found[part] = IN_PROCESS[part](options)
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
    found.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART", help=", ".join([*PARTS, "all"]))
    found.add_argument("--events", type=int, default=200_000)
    found.add_argument("--users", type=int, default=20_000)
    found.add_argument("--items", type=int, default=10_000)
    found.add_argument("--repeats", type=int, help="that count; default: 3 on a broker, more in one process")
    found.add_argument("--json", type=Path, metavar="FILE", help="writes the figures there too")
    found.add_argument("--device", default="cpu", help="of workers and of the parts in one process: cpu, cuda")
    found.add_argument("--threads", type=int, default=1, help="of PyTorch, of the parts in one process")
    found.add_argument("--only", action="append", metavar="WORD", help="throughput: only who has it in the name")
    found.add_argument("--scaling", action="store_true", help="throughput: by partitions and workers too")
    found.add_argument("--peer-events", type=int, default=5_000, help="throughput: of the slow peer")
    found.add_argument("--log", help="backbones: a log of events to train on, for a column of quality; takes long")
    return found


def started(stack: ExitStack, device: str) -> Streams:
    """A broker in a folder that is removed at the end."""
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextact-bench-")))
    return Streams(stack.enter_context(Broker(place / "kafka", heap_mb=1024)), place, device)


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
