"""`nextact evaluate` on tiny files, with a network that really learns."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model.errors import NextactError
from stream_app.cli.common import INTERRUPTED
from stream_app.cli.main import cli, main
from stream_app.errors import UsageError
from stream_app.offline.evaluate import ProgressLine
from tests.unit.builders.versions import save_version

RATES = {"type": "number", "minimum": 0, "maximum": 1}
DEPTHS = (1, 5, 10, 20)
QUALITY = {
    "type": "object",
    "required": [
        *(f"{metric}_at_{depth}" for metric in ("recall", "mrr", "ndcg") for depth in DEPTHS),
        "coverage_at_20",
        "popular_share_at_20",
    ],
    "properties": {"targets": {"type": "integer"}, "name": {"type": "string"}},
    "additionalProperties": RATES,
}
BASELINES = ["popularity", "recent_popularity", "own_items", "transitions", "rules", "v_sknn"]
SCHEMA = {
    "type": "object",
    "required": ["model", "network", "baselines", "slices", "seconds", "events_per_second", "targets", "items", "data"],
    "properties": {
        "model": QUALITY,
        "network": QUALITY,
        "baselines": {"type": "object", "required": BASELINES, "additionalProperties": QUALITY},
        "slices": {
            "type": "object",
            "required": ["position", "user", "item"],
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "object", "required": BASELINES, "additionalProperties": QUALITY},
            },
        },
        "seconds": {"type": "number", "exclusiveMinimum": 0},
        "events_per_second": {"type": ["number", "null"]},
        "targets": {"type": "integer"},
        "items": {"type": "integer"},
    },
}


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


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def run(*arguments: str) -> list[str]:
        cli.main(["evaluate", *arguments], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    return run


def test_sessions_are_learned_and_measured_beside_the_baselines(
    evaluate: Callable[..., list[str]], tmp_path: Path
) -> None:
    lines = evaluate(*write_sessions(tmp_path), "--json", "--plot", str(tmp_path / "pictures"), "--device", "cpu")
    found = json.loads(lines[-1])
    jsonschema.validate(found, SCHEMA)
    assert (found["targets"], found["items"]) == (40, 40)
    assert found["model"]["recall_at_5"] > 0.9  # a really trained network knows the ring
    assert found["baselines"]["transitions"]["recall_at_1"] > 0.9
    assert found["baselines"]["popularity"]["recall_at_20"] < 0.9
    assert found["events_per_second"] > 0
    assert len(found["epochs"]) > 1
    assert found["epochs"][-1]["mrr_at_20"] > found["epochs"][0]["mrr_at_20"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["by_epoch.png"]
    table = lines[lines.index("") + 1 :][:9]
    assert table[1].startswith("nextact")
    assert table[2].startswith("network alone")
    assert len({len(line) for line in table}) == 1
    assert any(line.startswith("V-SkNN") for line in table)


def test_a_log_keeps_what_users_did_before(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    files = write_logs(tmp_path)
    version = tmp_path / "v1"
    save_version(version)
    lines = evaluate(*files, "--json", "--model", str(version), "--plot", str(tmp_path / "pictures"))
    found = json.loads(lines[-1])
    jsonschema.validate(found, SCHEMA)
    assert found["model"]["name"] == "v1"
    assert found["events_per_second"] is None
    assert found["slices"]["user"]["seen in training"]["rules"]["targets"] == found["targets"] == 360
    assert {part: by["rules"]["targets"] for part, by in found["slices"]["position"].items()} == {"11+": 360}
    assert found["slices"]["day"].keys() == {"2023-11-16"}
    assert not (tmp_path / "pictures").exists() or not list((tmp_path / "pictures").iterdir())


def test_purchases_are_measured_where_there_are_any(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    version = tmp_path / "v1"
    save_version(version)
    lines = evaluate(*write_logs(tmp_path, "purchase"), "--json", "--model", str(version))
    found = json.loads(lines[-1])["purchase"]
    # 60 sessions of six events, a hundred seconds apart: after 42 of them the log goes on for half an hour. The last
    # event of each is its purchase, which none follows.
    assert (found["number"], found["base_rate"]) == (42 * 6, pytest.approx(5 / 6, abs=1e-6))
    assert all(0 <= found[name] <= 1 for name in found if name != "number")
    row = next(line for line in lines if line.startswith("purchase probability"))
    assert row.split()[2:4] == ["252", "0.8333"]


def test_nothing_is_said_of_purchases_where_there_are_none(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    version = tmp_path / "v1"
    save_version(version)
    lines = evaluate(*write_logs(tmp_path), "--json", "--model", str(version))
    assert json.loads(lines[-1])["purchase"] is None
    assert not any("purchase" in line for line in lines[:-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files[:2], "--test-events"),
        (lambda files: (*files, "--train-sessions", "x"), "--train-sessions"),
        (lambda files: ("--events", "none.csv", *files[2:]), "none.csv cannot be opened"),
        (lambda files: files[:-2], "visitor"),
        (lambda files: (*files, "--model", "nowhere"), "--model nowhere: missing_file"),
        (lambda files: (*files, "--device", "abacus"), "abacus"),
        (lambda files: (*files, "--timezone", "Mars"), "Mars"),
        (lambda files: (*files[:2], "--test-events", files[1], *files[4:]), "nothing|no action"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(NextactError, match=said) as caught:
        cli.main(["evaluate", *change(write_logs(tmp_path))], standalone_mode=False)
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_too_little_to_train_on_is_the_files_fault(tmp_path: Path) -> None:
    train, test = tmp_path / "a", tmp_path / "b"
    train.write_text("1 2\n")
    test.write_text("1\t2\n")
    with pytest.raises(UsageError, match=r"a, .*b: 1 actions"):
        cli.main(["evaluate", "--train-sessions", str(train), "--test-examples", str(test)], standalone_mode=False)


def test_a_folder_that_takes_no_pictures(tmp_path: Path) -> None:
    from stream_app.offline.plots import _save

    (tmp_path / "file").touch()
    from matplotlib.figure import Figure

    with pytest.raises(UsageError, match=r"cannot be written: .*another folder"):
        _save(Figure(), tmp_path / "file" / "a.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"nextact\[plot\]"):
        cli.main(["evaluate", *write_sessions(tmp_path), "--plot", str(tmp_path)], standalone_mode=False)


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_app.offline.evaluate.fit_on_split", interrupted)
    monkeypatch.setattr(sys, "argv", ["nextact", "evaluate", *write_sessions(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == INTERRUPTED


def test_progress_rewrites_a_terminals_line_and_is_rare_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    for terminal in (True, False):
        tell = ProgressLine(clock=lambda: now[0], terminal=terminal)
        for second in range(40):
            now[0] = second
            tell("training", str(second))
        tell("scoring")
        tell.close()
    on_terminal, _, elsewhere = capsys.readouterr().err.partition("\rscoring\r")  # click leaves out the colours
    assert on_terminal.count("\r") == 40
    assert "\n" not in on_terminal
    assert elsewhere.splitlines() == ["training: 0", "training: 15", "training: 30", "scoring"]
