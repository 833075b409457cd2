"""`nextact evaluate` on tiny files, with a network that really learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from stream_app.cli.main import cli
from tests.unit.builders.shop_logs import write_logs, write_sessions
from tests.unit.builders.versions import save_version

RATES = {"type": "number", "minimum": 0, "maximum": 1}
DEPTHS = (1, 5, 10, 20)
QUALITY = {
    "type": "object",
    "required": [
        *(f"{metric}_at_{depth}" for metric in ("recall", "mrr", "ndcg") for depth in DEPTHS),
        "coverage_at_20",
        "popular_share_at_20",
        "unseen_share",
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
            "required": ["position", "user", "item", "repeat"],
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
    report = json.loads(lines[-1])
    jsonschema.validate(report, SCHEMA)
    assert (report["targets"], report["items"]) == (40, 40)
    assert report["model"]["recall_at_5"] > 0.9  # a really trained network knows the ring
    assert report["baselines"]["transitions"]["recall_at_1"] > 0.9
    assert report["baselines"]["popularity"]["recall_at_20"] < 0.9
    assert report["events_per_second"] > 0
    assert len(report["epochs"]) > 1
    assert report["epochs"][-1]["mrr_at_20"] > report["epochs"][0]["mrr_at_20"]
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
    report = json.loads(lines[-1])
    jsonschema.validate(report, SCHEMA)
    assert report["model"]["name"] == "v1"
    assert report["events_per_second"] is None
    assert report["slices"]["user"]["seen in training"]["rules"]["targets"] == report["targets"] == 360
    targets = {label: by_ranker["rules"]["targets"] for label, by_ranker in report["slices"]["position"].items()}
    assert targets == {"11+": 360}
    assert report["slices"]["day"].keys() == {"2023-11-16"}
    assert not (tmp_path / "pictures").exists() or not list((tmp_path / "pictures").iterdir())


def test_a_log_is_scored_live_beside_the_offline_figures(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    """Every target but the first of each user in the test has an answer before it."""
    save_version(tmp_path / "v1")
    lines = evaluate(*write_logs(tmp_path), "--json", "--model", str(tmp_path / "v1"), "--live", "--lag", "5")
    live = json.loads(lines[-1])["live"]
    assert live["model"]["targets"] == live["rules"]["targets"] == 360 - 50
    assert (live["ceiling"], live["lag"]) == (1, 5)
    assert live["users"].keys() == {"known"}
    assert live["targets"].keys() == {"other"}
    assert live["rules"]["recall_at_20"] > 0.9, "they know the ring"
    assert any(line.startswith("live, v1") for line in lines)


def test_without_being_asked_nothing_is_scored_live(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    save_version(tmp_path / "v1")
    report = json.loads(evaluate(*write_logs(tmp_path), "--json", "--model", str(tmp_path / "v1"))[-1])
    assert report["live"] is None


def test_rows_of_one_time_are_one_target_with_baskets(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    """Each session has one time, as a purchase has: without baskets its six rows are events, and targets."""
    save_version(tmp_path / "v1")
    files = [*write_logs(tmp_path), "--model", str(tmp_path / "v1"), "--json"]
    for name in ("train.csv", "test.csv"):
        header, *rows = (tmp_path / name).read_text().splitlines()
        cells = [row.rsplit(",", 1) for row in rows]
        (tmp_path / name).write_text("\n".join((header, *(f"{rest},{int(time) // 100}00" for rest, time in cells))))
    reports = [json.loads(evaluate(*files, *option)[-1]) for option in ((), ("--baskets",))]
    assert [report["targets"] for report in reports] == [60 * 6, 60]
    assert [report["data"]["events"] for report in reports] == [200 * 6, 200]
    assert reports[1]["slices"]["position"].keys() == {"11+"}, "all lines of earlier baskets are known"


def test_purchases_are_measured_where_there_are_any(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    version = tmp_path / "v1"
    save_version(version)
    lines = evaluate(*write_logs(tmp_path, "purchase"), "--json", "--model", str(version))
    report = json.loads(lines[-1])["purchase"]
    # 60 sessions of six events, a hundred seconds apart: after 42 of them the log goes on for half an hour. The last
    # event of each is its purchase, which none follows.
    assert (report["number"], report["base_rate"]) == (42 * 6, pytest.approx(5 / 6, abs=1e-6))
    assert all(0 <= report[name] <= 1 for name in report if name != "number")
    row = next(line for line in lines if line.startswith("purchase probability"))
    assert row.split()[2:4] == ["252", "0.8333"]


def test_nothing_is_said_of_purchases_where_there_are_none(evaluate: Callable[..., list[str]], tmp_path: Path) -> None:
    version = tmp_path / "v1"
    save_version(version)
    lines = evaluate(*write_logs(tmp_path), "--json", "--model", str(version))
    assert json.loads(lines[-1])["purchase"] is None
    assert not any("purchase" in line for line in lines[:-1])
