"""The report of a live run: a table for people and JSON for programs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.evaluation.live_scores import BORN_OWN, OTHER, UNTOUCHED, LiveScores, Touches, ranks_of
from stream_app.offline.live_report import LiveReport

SCORES = LiveScores(
    targets=Touches(np.arange(4), np.array([0, 1, 0, 2]), np.arange(4).astype(np.uint64)),
    model_ranks=ranks_of(np.array([1, 0, 4, 2])),
    rules_ranks=ranks_of(np.array([2, 0, 0, 20])),
    known_users=np.array([True, False, True, False]),
    kinds=np.array([OTHER, UNTOUCHED, BORN_OWN, OTHER], np.uint8),
)


def test_the_table_has_a_line_for_each_slice() -> None:
    lines = list(LiveReport("v7", SCORES, lag=2.0).lines())
    assert lines[0].startswith("live, v7")
    assert lines[1].split() == ["all", "4", "100.00", "75.00", "43.75", "50.00", "13.75"]
    rows = {line.split("  ")[0]: line.split()[-6:] for line in lines[2:-1]}
    assert rows["users who were there before"][:2] == ["2", "50.00"]
    assert rows["items that nobody had touched"] == ["1", "25.00", "0.00", "0.00", "0.00", "0.00"]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert "statistics 2 s late" in lines[-1]
    assert "+25.00 points" in lines[-1]
    assert "more than 75.00" in lines[-1]


def test_json_has_model_and_rules_for_all_and_for_each_slice() -> None:
    content = json.loads(json.dumps(LiveReport("v7", SCORES, lag=0.0).as_json()))
    assert content["model"] == {"recall_at_20": 0.75, "mrr_at_20": 0.4375, "targets": 4}
    assert content["rules"] == {"recall_at_20": 0.5, "mrr_at_20": 0.1375, "targets": 4}
    assert (content["ceiling"], content["lag"]) == (0.75, 0)
    assert content["gain"]["recall_at_20"]["mean"] == 0.25
    assert content["users"]["new"]["model"] == {"recall_at_20": 0.5, "mrr_at_20": 0.25, "targets": 2}
    assert content["targets"].keys() == {"untouched", "born_own", "other"}
    assert content["targets"]["born_own"]["rules"]["recall_at_20"] == pytest.approx(0)
