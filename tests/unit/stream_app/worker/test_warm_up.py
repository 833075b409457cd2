"""The batches that a worker makes before its first one: every kind that a stream has, and nothing of it stays."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from model.errors import VersionRefused
from model.serving.serving import Serving
from stream_app.contract.records import UnreadableBatch
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings, load_settings
from stream_app.worker import warm_up as module
from stream_app.worker.warm_up import LARGE, _MadeUpStream, process, try_version, warm_up
from tests.unit.builders.basics import CPU, HIDDEN, current, unpacked

SETTINGS = load_settings({"hidden": HIDDEN})
SERVINGS = [None, current]


@pytest.mark.parametrize("serving", SERVINGS, ids=["rules", "model"])
def test_a_worker_warms_up_on_every_kind_of_batch(
    serving: Callable[[], Serving] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries: list[CollectorRegistry] = []

    def registry() -> CollectorRegistry:
        registries.append(CollectorRegistry())
        return registries[-1]

    monkeypatch.setattr(module, "CollectorRegistry", registry)
    warm_up(SETTINGS, CPU, serving and serving())
    (one,) = registries
    names = ("replayed_events", "duplicate_events", "returned_users", "unreadable_records", "damaged_users")
    counts = {name: count(one, f"nextact_{name}_total") for name in names}
    assert counts["replayed_events"] >= 20
    assert counts["duplicate_events"] >= 10
    assert counts["returned_users"] >= 40, "users who come back from the local store"
    assert counts["unreadable_records"] == 2
    assert not counts["damaged_users"]
    assert count(one, "nextact_events_total") > LARGE
    assert one.get_sample_value("nextact_joins_total", {"outcome": "applied"}) == 1
    assert count(one, "nextact_scored_total") > 0, "answers are compared with what came"


def count(registry: CollectorRegistry, name: str) -> float:
    return sum(sample.value for family in registry.collect() for sample in family.samples if sample.name == name)


def test_made_up_records_are_events_of_all_types_on_all_partitions_but_for_the_spoilt_ones() -> None:
    stream, settings = _MadeUpStream(("shoe", "hat"), 3), Settings(hidden=HIDDEN)
    pipeline = Pipeline(new_engine(settings, CPU), settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)
    records = stream.take(LARGE)
    decoded = pipeline.decode(records, 0).decoded
    assert not decoded.rejected
    assert set(Counter(event.type for event in decoded.events)) == {
        "click",
        "search",
        "purchase",
        "view",
        "cart",
        "favorite",
        "remove",
    }
    assert {record.partition for record in records} == {0, 1, 2}
    assert {event.item_id for event in decoded.events} == {None, "shoe", "hat"}
    spoilt = stream.spoilt()
    assert len(pipeline.decode(spoilt, 0).decoded.rejected) == len(spoilt)
    assert isinstance(spoilt[-1], UnreadableBatch)


def test_a_version_that_does_not_answer_is_refused_before_it_serves() -> None:
    try_version(SETTINGS, CPU, current())
    too_wide = SETTINGS.model_copy(update={"hidden": 2 * HIDDEN})
    with pytest.raises(VersionRefused, match="does not answer made-up events") as refused:
        try_version(too_wide, CPU, current())
    assert refused.value.reason == "warm_up"


@pytest.mark.parametrize("serving", SERVINGS, ids=["rules", "model"])
def test_a_batch_goes_through_all_stages(serving: Callable[[], Serving] | None) -> None:
    engine = new_engine(SETTINGS, CPU)
    if serving is not None:
        engine.serve(serving())
    pipeline = Pipeline(engine, SETTINGS, WorkerMetrics(CollectorRegistry()), time.perf_counter)
    (result,) = process(pipeline, _MadeUpStream((), 1).take(1))
    assert engine.user_counts().in_memory == 1
    assert len(unpacked(result.predictions)) == 1
    assert len(result.changelog) == 1
    assert not result.dead_letters
