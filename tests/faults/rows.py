"""The table of faults: what each row injects into which load, how often, and what it tolerates."""

from __future__ import annotations

from typing import Final

from tests.faults import injections as inject
from tests.faults import joined, signals
from tests.faults import log_faults as log
from tests.faults import publishers as publish
from tests.faults.load import Mix
from tests.faults.memory import CALM_MB
from tests.faults.points import POINTS
from tests.faults.trial import WORST_S, Row

# Exit codes of workers whose brokers are away: none answers at the start (2), or the data path fails (70).
_WITHOUT_BROKERS: Final = frozenset({2, 70})
# A worker that finds its partitions given away in the middle of a batch may only end.
_OUTDATED: Final = frozenset({70})
# Without room for the local store a worker may only end.
_FULL: Final = frozenset({70})
# Memory grows to what unsettled batches need, and stays so large: more users than those must come.
_CROWDED: Final = {"users_in_memory": 50, "batch_size": 256, "standby_replicas": 1}
_JOIN_POINTS: Final = ("changelog-sent", "acknowledgement", "commit")
_EVERYTHING: Final = Mix(hot=0.5, repeats=0.05, late=0.05)


def _point_rows() -> list[Row]:
    return [
        Row(f"point-{point}", inject.at_point(point), runs=2, limit_s=WORST_S, one_version=point != "swap")
        for point in POINTS
        if point != "joins-sent"
    ]


def _broker_rows() -> list[Row]:
    return [
        Row(
            f"broker-{end}-{who}-{number}",
            inject.brokers_down(end, who, count),
            runs=2,
            tolerated=_WITHOUT_BROKERS,
            limit_s=WORST_S,
        )
        for end in ("stop", "kill")
        for who in ("leader", "controller")
        for number, count in (("one", 1), ("two", 2))
    ]


def _odd_logs() -> list[Row]:
    """Rows of publishers and logs that no publisher of ours makes."""
    packed = {"compression.type": "zstd"}
    rolling = {"cleanup.policy": "compact", "segment.ms": "2000", "min.cleanable.dirty.ratio": "0.01"}
    unclean = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    return [
        Row("aborts", inject.kills_when_settled, limit_s=WORST_S, publisher=publish.Aborting),
        Row("codecs", inject.some_kills, publisher=publish.Compressing, settings={"compression": "lz4"}),
        Row(
            "codecs-of-topics",
            inject.some_kills,
            publisher=publish.Compressing,
            topics={"events_topic": (3, packed), "state_topic": (3, {"cleanup.policy": "compact"} | packed)},
        ),
        Row("headers", inject.some_kills, publisher=publish.OddHeaders, mix=Mix(poison=0.05)),
        Row("huge", inject.some_kills, publisher=publish.Huge, topics={"dead_letters_topic": (3, {})}),
        Row("retention", log.retention, tolerated=_OUTDATED, limit_s=WORST_S),
        Row("log-cut", log.log_cut, topics={"events_topic": (2, unclean)}, tolerated=_WITHOUT_BROKERS, limit_s=WORST_S),
        Row("compaction", log.compaction, topics={"state_topic": (3, rolling)}, limit_s=WORST_S),
    ]


def _joins() -> list[Row]:
    """Rows of anonymous users who turn out to be known ones."""
    mix = Mix(users=45, identities=0.06, repeats=0.05, batches=0)
    faults = {
        "kill": (inject.kills, 3, frozenset[int]()),
        "burst": (inject.bursts, 1, frozenset[int]()),
        "scaling": (inject.scaling, 1, frozenset[int]()),
        "frozen": (inject.frozen, 1, _OUTDATED),
        "broker": (inject.brokers_down("kill", "leader", 1), 1, _WITHOUT_BROKERS),
        **{f"at-{point}": (inject.at_point(point), 2, frozenset[int]()) for point in ("joins-sent", *_JOIN_POINTS)},
    }
    return [
        Row(
            f"joins-{name}",
            fault,
            runs=runs,
            mix=mix,
            limit_s=WORST_S,
            tolerated=tolerated,
            one_version=False,
            finish=joined.tell_of_all,
            judge=joined.judge_joined,
            settings={"history_length": joined.LENGTH},
        )
        for name, (fault, runs, tolerated) in faults.items()
    ]


def _signals() -> list[Row]:
    """Rows of workers that tell when visits have ended, which are of a second or two."""
    faults = {
        "kill": (inject.kills, 3, frozenset[int]()),
        "scaling": (inject.scaling, 1, frozenset[int]()),
        "frozen": (inject.frozen, 1, _OUTDATED),
        **{f"at-{point}": (inject.at_point(point), 1, frozenset[int]()) for point in ("predictions-sent", "commit")},
    }
    return [
        Row(
            f"signals-{name}",
            fault,
            runs=runs,
            mix=Mix(users=1000, repeats=0.05),
            limit_s=WORST_S,
            tolerated=tolerated,
            finish=signals.all_told,
            judge=signals.judge_signals,
            settings={"visit_minutes": 0.025},
            signals=True,
        )
        for name, (fault, runs, tolerated) in faults.items()
    ]


def _questions() -> list[Row]:
    """Rows in which any worker is asked about any user meanwhile."""
    faults = {
        "kill": (inject.kills, frozenset[int](), ""),
        "kill-static": (inject.kills, frozenset[int](), "w"),  # who comes back may have got another one's port
        "scaling": (inject.scaling, frozenset[int](), ""),
        "frozen": (inject.frozen, _OUTDATED, ""),
    }
    return [
        Row(
            f"questions-{name}", fault, tolerated=tolerated, limit_s=WORST_S, asks=True, settings={"instance_id": names}
        )
        for name, (fault, tolerated, names) in faults.items()
    ]


SAMPLER: Final = Row(
    "sampler", inject.sampler, mix=_EVERYTHING, workers=2, tolerated=_WITHOUT_BROKERS, limit_s=WORST_S, asks=True
)

ROWS: Final = (
    Row("calm", inject.calm, growth_mb=CALM_MB),
    Row("kill", inject.kills, runs=5),
    Row("burst", inject.bursts, runs=2),
    Row("all-at-once", inject.all_at_once, runs=2),
    Row("all-at-once-store-deleted", inject.all_at_once_store_deleted, runs=2),
    *_point_rows(),
    Row("rolling", inject.rolling_restart),
    Row("scaling", inject.scaling),
    *_broker_rows(),
    Row("all-brokers-down", inject.all_brokers_down, runs=2, tolerated=_WITHOUT_BROKERS, limit_s=WORST_S),
    Row("frozen", inject.frozen, runs=2, tolerated=_OUTDATED, limit_s=WORST_S),
    Row("frozen-in-a-batch", inject.frozen_in_a_batch, runs=3, tolerated=_OUTDATED, limit_s=WORST_S),
    Row("reload", inject.reloads_during_kills, runs=5, one_version=False),
    Row("poison", inject.some_kills, mix=Mix(poison_run=1000)),
    Row("duplicates", inject.some_kills, mix=_EVERYTHING),
    Row("store-full", inject.store_full, tolerated=_FULL, limit_s=WORST_S),
    Row("throttled", inject.throttled_output, runs=2, limit_s=WORST_S),
    *_odd_logs(),
    *_joins(),
    *_signals(),
    *_questions(),
    Row("throttled-scaling", inject.throttled_scaling, tolerated=_OUTDATED, limit_s=WORST_S),
    Row("standbys", inject.evictions, mix=Mix(users=6000), settings=_CROWDED, limit_s=WORST_S),
    Row("registry-away", inject.registry_away, one_version=False, limit_s=WORST_S),
    Row("delivery-changed", inject.delivery_changed, repeats=True, limit_s=WORST_S),
    SAMPLER,
)
