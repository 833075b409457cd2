"""Reports of evaluations with made-up figures."""

from __future__ import annotations

from model.evaluation.quality import Quality
from model.evaluation.ranking import DEPTHS, Ranking
from stream_app.offline.report import DataSummary, Report
from stream_app.versions.admin import ModelLine


def quality(share: float, targets: int = 40) -> Quality:
    """A quality whose metrics are all `share`."""
    by_depth = dict.fromkeys(DEPTHS, share)
    return Quality(targets, 0.25, Ranking(by_depth, by_depth, by_depth), coverage=share, popular_share=share)


def made_report() -> Report:
    """The report of a version that was loaded, beside two baselines; neither slices nor purchases."""
    return Report(
        data=DataSummary(("train.csv",), ("test.csv",), events=1000, users=50, items=30, targets=40),
        whole={
            "nextact": quality(0.5),
            "network": quality(0.4),
            "popularity": quality(0.1),
            "rules": quality(0.3),
        },
        slices={},
        purchase=None,
        epochs=[],
        training=None,
        seconds=12.3456,
    )


def model_line(version: str, recall: float | None, champion: float | None = None, verdict: str = "better") -> ModelLine:
    return ModelLine(
        version=version,
        state="never promoted",
        created="2026-01-02T03:04:05+00:00",
        events=100,
        recall_at_20=recall,
        champion_recall_at_20=champion,
        rules_recall_at_20=0.3,
        recall_gain=None,
        verdict=verdict,
        size_bytes=1,
        path=version,
        damage=None,
    )
