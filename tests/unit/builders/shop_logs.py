"""Logs of a tiny shop as files, and the options of `nextact evaluate` that name them."""

from __future__ import annotations

import csv
import random
from pathlib import Path


def walks(sessions: int, seed: int) -> list[list[str]]:
    """Sessions that go around a ring of 40 items: what comes next is known to whoever has looked."""
    rng = random.Random(seed)
    starts = [rng.randrange(40) for _ in range(sessions)]
    return [[f"i{(start + step) % 40}" for step in range(6)] for start in starts]


def write_sessions(folder: Path) -> tuple[str, ...]:
    train, test = folder / "train.txt", folder / "test.tsv"
    train.write_text("".join(" ".join(session) + "\n" for session in walks(120, 1)))
    test.write_text("".join(" ".join(session[:-1]) + f"\t{session[-1]}\n" for session in walks(40, 2)))
    return "--train-sessions", str(train), "--test-examples", str(test)


def write_logs(folder: Path, last: str = "view") -> tuple[str, ...]:
    """Sessions whose last action is of some type."""

    def write(name: str, sessions: list[list[str]], begin: int) -> str:
        with (folder / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("visitor", "type", "item_id", "timestamp"))
            for n, session in enumerate(sessions):
                for step, item in enumerate(session):
                    kind = last if step == len(session) - 1 else "view"
                    rows.writerow((f"u{n % 50}", kind, item, begin + 100 * n + step))
        return str(folder / name)

    train = write("train.csv", walks(200, 1), 1_700_000_000)
    return (
        "--events",
        train,
        "--test-events",
        write("test.csv", walks(60, 2), 1_700_100_000),
        "--column",
        "user_id=visitor",
    )
