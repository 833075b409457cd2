"""An evaluation's report: its table for people and its JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from model.evaluation.probability_quality import ProbabilityQuality
from model.training.fit_network import FitReport
from stream_app.offline.report import TrainingSummary, title
from tests.unit.builders.evaluations import made_report, quality

PURCHASE = ProbabilityQuality(1200, 0.05, 0.06, 0.8, 0.4, 0.04, 0.01, 0.005, 0.012, 0.006)


def test_the_table_has_a_line_for_each_ranker_and_columns_of_one_width() -> None:
    lines = list(made_report().lines())
    assert lines[0] == "40 targets, full ranking over 30 items; learned from 1,000 events of 50 users or sessions"
    assert lines[1] == "25.00 % of the targets are on items that training does not have: a miss for every ranker"
    assert lines[2] == "12 s in all"
    table = lines[4:9]
    names = [line.split("  ")[0] for line in table[1:]]
    assert names == ["nextact", "network alone", "popularity", "transitions and own items"]
    assert len({len(line) for line in table}) == 1
    assert table[1].split()[1:3] == ["50.00", "50.00"]


def test_the_best_baseline_is_that_of_the_highest_recall() -> None:
    report = made_report()
    assert (report.model, report.baselines, report.best_baseline) == ("nextact", ["popularity", "rules"], "rules")
    assert title("rules") == "transitions and own items"
    assert title("v7") == "v7"


def test_slices_of_several_labels_are_compared_with_the_best_baseline() -> None:
    labels = {label: {name: quality(0.2, targets=7) for name in ("nextact", "rules")} for label in ("new", "known")}
    report = replace(made_report(), slices={"user": labels, "item": {"all": labels["new"]}})
    lines = list(report.lines())
    (heading,) = [line for line in lines if line.startswith("by ")]
    assert heading.split("  ")[0] == "by user"
    assert "transitions and own items: MRR@20" in heading
    row = lines[lines.index(heading) + 1]
    assert row.split() == ["new", "7", "25.00", *["20.00"] * 4]


def test_purchases_are_a_table_of_their_own() -> None:
    lines = list(replace(made_report(), purchase=PURCHASE).lines())
    row = next(line for line in lines if line.startswith("purchase probability"))
    assert row.split()[2:5] == ["1,200", "0.0500", "0.0600"]
    assert "within" in lines[-1]


def test_json_has_shares_and_all_figures() -> None:
    training = TrainingSummary.of(FitReport(epochs=3, steps=9, actions=6000, losses={}), seconds=4.0)
    report = replace(made_report(), purchase=PURCHASE, training=training, epochs=[quality(0.25).means])
    content = json.loads(json.dumps(report.as_json()))
    assert content["model"]["name"] == "nextact"
    assert (content["model"]["recall_at_20"], content["model"]["unseen_share"]) == (0.5, 0.25)
    assert content["baselines"]["rules"]["popular_share_at_20"] == 0.3
    assert content["epochs"][0]["mrr_at_5"] == 0.25
    assert (content["training_seconds"], content["events_per_second"], content["seconds"]) == (4.0, 1500.0, 12.346)
    assert content["purchase"] == pytest.approx(asdict(PURCHASE))
    assert content["data"] == {"train": ["train.csv"], "test": ["test.csv"], "events": 1000, "users": 50}


def test_the_speed_of_training_is_told() -> None:
    training = TrainingSummary(seconds=4.0, epochs=3, events=6000)
    lines = list(replace(made_report(), training=training).lines())
    assert lines[2] == "12 s in all; training 4 s, 3 epochs, 1,500 events/s"
