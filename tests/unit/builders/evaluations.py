"""Reports of evaluations with made-up figures."""

from __future__ import annotations

from model.evaluation.quality import Quality
from model.evaluation.ranking import DEPTHS, Ranking
from stream_app.offline.report import DataSummary, Report


def quality(share: float, targets: int = 40) -> Quality:
    """A quality whose metrics are all `share`."""
    by_depth = dict.fromkeys(DEPTHS, share)
    return Quality(targets, Ranking(by_depth, by_depth, by_depth), coverage=share, popular_share=share)


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
