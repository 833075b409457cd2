"""A shop's own log in the demo: learned from, replayed, scored as subscribers see it, and told in a report."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream_app.sandbox.simulate import Shop

pytestmark = pytest.mark.broker

PAST, ALL = 3000, 4000


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def shown(events: Sequence[dict[str, Any]], step: int = 3) -> list[tuple[float, str, list[str]]]:
    """What the shop showed: to some users now and then, the items of the last events, the latest first."""
    lists = []
    for number, event in enumerate(events):
        if number % step == 0:
            recent = [one["item_id"] for one in events[max(0, number - 30) : number + 1] if "item_id" in one]
            lists.append((event["timestamp"] + 1, event["user_id"], recent[::-1]))
    return lists


def oracle(events: Sequence[dict[str, Any]], lists: Sequence[tuple[float, str, list[str]]]) -> list[bool]:
    """Whether the shop's list had each next item in the live part whose user had done something there before."""
    found, seen = [], defaultdict[str, int](int)
    for event in events[PAST:]:
        user, time = event["user_id"], event["timestamp"]
        if seen[user] and "item_id" in event and event["type"] != "remove":
            before = [items for at, who, items in lists if who == user and at < time]
            found.append(bool(before) and event["item_id"] in before[-1][:20])
        seen[user] += 1
    return found


def test_a_log_is_replayed_and_scored_beside_what_the_shop_shows(tmp_path: Path) -> None:
    shop = Shop(7, start=1_700_000_000, rate=50, items=80, users=60)
    events = list(shop.events(ALL))
    for number, event in enumerate(events):
        event["timestamp"] = 1_700_000_000_000 + 1000 * number
    rows = [[one["user_id"], one["type"], one.get("item_id"), one.get("query"), one["timestamp"]] for one in events]
    log = table(tmp_path / "shop.csv", ["visitor", "type", "sku", "query", "at"], rows)
    titles = [[item.item_id, f"<b>{item.item_id}</b>", "a & b"] for item in shop.catalogue.items]
    items = table(tmp_path / "items.csv", ["item_id", "title", "category"], titles)
    lists = shown(events)
    rival = table(
        tmp_path / "rival.csv", ["time", "user", "items"], [[at, who, " ".join(ids)] for at, who, ids in lists]
    )
    report = tmp_path / "report.html"
    options = ["--log", log, "--items", items, "--rival", rival, "--history", str(PAST), "--report", str(report)]
    columns = [
        f"--column={field}={column}"
        for field, column in (("user_id", "visitor"), ("item_id", "sku"), ("timestamp", "at"))
    ]
    done = subprocess.run(
        [sys.executable, "-m", "stream_app", "demo", *options, *columns, "--rate", "500"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"NEXTACT_HIDDEN": "16"},
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["shop"], summary["events"], summary["predictions"]) == ("shop.csv", ALL, ALL)
    assert summary["models_loaded"] > 0
    wanted, counted = oracle(events, lists), summary["found_at_20"]
    assert counted["targets"] == len(wanted) > 300
    assert counted["rival"]["share"] == pytest.approx(sum(wanted) / len(wanted), abs=1e-4)
    assert counted["nextact"]["share"] == pytest.approx(summary["hit_at_20"]["model"], abs=1e-4), "as the worker counts"
    assert counted["popularity"]["share"] < counted["nextact"]["share"]
    assert counted["nextact"]["low"] < counted["nextact"]["share"] < counted["nextact"]["high"]
    assert "training the first version on 3,000 events" in done.stdout
    page = report.read_text(encoding="utf-8")
    assert "shop.csv" in page
    assert "&lt;b&gt;" in page
    assert "<b><b>" not in page
    assert "simulated" not in page
    assert "what the shop shows today" in page
