"""The report of an evaluation: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from model.data.events import PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from model.evaluation.probability_quality import BINS, ProbabilityQuality
from model.evaluation.quality import Quality
from model.evaluation.ranking import LIST_SIZE, Ranking
from model.training.fit_network import FitReport
from stream_app.offline.live_report import LiveReport
from stream_app.offline.profiles.preferences import PreferencesReport
from stream_app.offline.profiles.scores import ScoresReport
from stream_app.offline.profiles.segments import SegmentsReport
from stream_app.offline.text_table import table

NETWORK: Final = "network"  # the network alone, without statistics of the log
MODEL: Final = "nextact"
TITLES: Final = {
    "network": "network alone",
    "popularity": "popularity",
    "recent_popularity": "recent popularity",
    "own_items": "own items, latest first",
    "transitions": "transitions",
    "rules": "transitions and own items",
    "v_sknn": "V-SkNN",
}
KINDS: Final = {
    "position": "by earlier actions of the user",
    "user": "by user",
    "item": "by next item",
    "repeat": "by what the user did with the item before",
    "day": "by day (UTC)",
}
_COLUMNS: Final = ("Recall@20", "MRR@20", "NDCG@20", "Recall@10", "Recall@5", "Recall@1", "coverage", "popular")


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What was learned from and what was to be predicted."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    events: int  # of training
    users: int  # or sessions
    items: int  # of training, which are all that can be ranked
    targets: int


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What the training took."""

    seconds: float
    epochs: int
    events: int  # gone through in all epochs together

    @classmethod
    def of(cls, fit: FitReport, seconds: float) -> TrainingSummary:
        """Summarizes a fit that took `seconds`."""
        return cls(seconds, fit.epochs, fit.actions)

    @property
    def events_per_second(self) -> float:
        """Events gone through per second, over all epochs."""
        return self.events / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Report:
    """Qualities by the name of the ranker; the model comes first, then its network alone, then the baselines."""

    data: DataSummary
    whole: Mapping[str, Quality]
    slices: Mapping[str, Mapping[str, Mapping[str, Quality]]]  # kind -> label -> ranker
    purchase: ProbabilityQuality | None  # None: the test has no purchases, or ends too early to judge any
    epochs: Sequence[Ranking]  # on the newest training events, held out; empty: not asked for
    training: TrainingSummary | None  # None: a version was loaded
    seconds: float  # of the whole evaluation
    live: LiveReport | None = None  # None: not asked for
    scores: ScoresReport | None = None  # None: the log has no times, or ends too early to tell who left
    segments: SegmentsReport | None = None  # None: the log has no times, or too few users
    preferences: PreferencesReport | None = None  # None: the log says too little of what items are

    @property
    def model(self) -> str:
        """The model's name among the rankers."""
        return next(iter(self.whole))

    @property
    def baselines(self) -> list[str]:
        """The names of the rankers that need no network."""
        return [name for name in self.whole if name not in (self.model, NETWORK)]

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest Recall@20."""
        return max(self.baselines, key=lambda name: self.whole[name].means.recall[LIST_SIZE])

    def lines(self) -> Iterator[str]:
        """Yields the lines for a terminal."""
        data = self.data
        yield (
            f"{data.targets:,} targets, full ranking over {data.items:,} items; "
            f"learned from {data.events:,} events of {data.users:,} users or sessions"
        )
        yield (
            f"{100 * self.whole[self.model].unseen:.2f} % of the targets are on items that training does not have: "
            "a miss for every ranker"
        )
        yield self._timing()
        yield ""
        yield from table(_COLUMNS, {title(name): _cells(quality) for name, quality in self.whole.items()})
        yield ""
        yield (
            "In per cent. coverage: of the items, how many are in some top 20; "
            "popular: share of the top 20 that goes to the items that make half of the training; "
            "unseen, below: share of the targets that training does not have."
        )
        for kind, labels in self.slices.items():
            if len(labels) > 1:
                yield from self._slice(KINDS[kind], labels)
        if self.purchase:
            yield from _purchase(self.purchase)
        for part in (self.scores, self.segments, self.preferences, self.live):
            if part:
                yield ""
                yield from part.lines()

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values; shares are from 0 to 1, not per cent."""
        training = self.training
        data = self.data
        return {
            "model": {"name": self.model} | _numbers(self.whole[self.model]),
            "network": _numbers(self.whole[NETWORK]),
            "baselines": {name: _numbers(self.whole[name]) for name in self.baselines},
            "slices": {
                kind: {
                    label: {name: _numbers(quality) for name, quality in by_ranker.items()}
                    for label, by_ranker in labels.items()
                }
                for kind, labels in self.slices.items()
            },
            "purchase": _rounded(asdict(self.purchase)) if self.purchase else None,
            "scores": self.scores.as_json() if self.scores else None,
            "segments": self.segments.as_json() if self.segments else None,
            "preferences": self.preferences.as_json() if self.preferences else None,
            "live": self.live.as_json() if self.live else None,
            "epochs": [_means(ranking) for ranking in self.epochs],
            "seconds": round(self.seconds, 3),
            "training_seconds": round(training.seconds, 3) if training else None,
            "events_per_second": round(training.events_per_second, 1) if training else None,
            "targets": data.targets,
            "items": data.items,
            "data": {"train": data.train, "test": data.test, "events": data.events, "users": data.users},
        }

    def _timing(self) -> str:
        if self.training is None:
            return f"{self.seconds:.0f} s in all"
        training = self.training
        return (
            f"{self.seconds:.0f} s in all; training {training.seconds:.0f} s, {training.epochs} epochs, "
            f"{training.events_per_second:,.0f} events/s"
        )

    def _slice(self, heading: str, labels: Mapping[str, Mapping[str, Quality]]) -> Iterator[str]:
        rivals = (self.model, self.best_baseline)
        rows = {
            label: (
                f"{by_ranker[self.model].targets:,}",
                f"{100 * by_ranker[self.model].unseen:.2f}",
                *(cell for name in rivals for cell in _cells(by_ranker[name])[:2]),
            )
            for label, by_ranker in labels.items()
        }
        names = [f"{title(name)}: {column}" for name in rivals for column in _COLUMNS[:2]]
        yield ""
        yield from table(("targets", "unseen", *names), rows, heading)


def _purchase(quality: ProbabilityQuality) -> Iterator[str]:
    """Yields a table of the purchase probability's quality, beside what chance would give."""
    columns = (
        *("answers", "base rate", "mean", "AUROC", "avg. precision", "Brier score"),
        *("ECE", "by chance", "ECE, equal mass", "by chance"),
    )
    numbers = list(asdict(quality).values())
    yield ""
    yield from table(
        columns, {"purchase probability": (f"{quality.number:,}", *(f"{number:.4f}" for number in numbers[1:]))}
    )
    minutes = PURCHASE_WITHIN_MS // 60_000
    yield (
        f"Of a purchase among the user's next {PURCHASE_HORIZON} events and within {minutes} minutes, after the test "
        "events that come as long before the log's end; who leaves has not bought. "
        f"ECE: {BINS} bins of equal width, then of equal mass; by chance: what it would be if each were right."
    )


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(number, 6) for name, number in numbers.items()}


def title(name: str) -> str:
    """Returns a ranker's name for people."""
    return TITLES.get(name, name)


def _cells(quality: Quality) -> tuple[str, ...]:
    means = quality.means
    shares = (means.recall[20], means.mrr[20], means.ndcg[20], means.recall[10], means.recall[5], means.recall[1])
    return tuple(f"{100 * share:.2f}" for share in (*shares, quality.coverage, quality.popular_share))


def _numbers(quality: Quality) -> dict[str, float]:
    return (
        {"targets": quality.targets, "unseen_share": round(quality.unseen, 6)}
        | _means(quality.means)
        | {
            "coverage_at_20": round(quality.coverage, 6),
            "popular_share_at_20": round(quality.popular_share, 6),
        }
    )


def _means(ranking: Ranking) -> dict[str, float]:
    return {
        f"{name}_at_{depth}": round(value, 6)
        for name in ("recall", "mrr", "ndcg")
        for depth, value in getattr(ranking, name).items()
    }
