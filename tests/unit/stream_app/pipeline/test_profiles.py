"""What predictions say of their users beside what they will do next, as settings have it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.profile.fitted_scores import Score, Scores
from model.profile.profile import Profile
from model.serving.serving import serve
from stream_app.contract.predictions import Prediction, Segment, decode_prediction
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, HIDDEN, Shelf, make_record, unpacked, version
from tests.unit.builders.segments import fitted_segments

PROFILE = Profile(scores=Scores(Score(0.25), Score(0.75)), segments=fitted_segments())
HOUR = 3_600_000


class Bench:
    """A worker's pipeline, and the records of its users."""

    def __init__(self, profile: str, shelf: Shelf | None = None) -> None:
        settings = load_settings({"profile": profile, "hidden": HIDDEN})
        self.shelf, ticks = shelf or Shelf(), count()
        self.engine = new_engine(settings, CPU, self.shelf)
        self.engine.serve(serve(replace(version(), profile=PROFILE), CPU))
        self.registry = CollectorRegistry()
        self.pipeline = Pipeline(self.engine, settings, WorkerMetrics(self.registry), lambda: float(next(ticks)))

    def answer(self, *offsets: int, user: str = "u") -> list[Prediction]:
        """Answers a view an hour, so that each is a visit of its own."""
        batch = [record(offset, user) for offset in offsets]
        results = self.pipeline.encode(self.pipeline.answer(self.pipeline.step(self.pipeline.decode(batch, 1))))
        for result in results:
            self.shelf |= {(result.partition, key.decode()): value for key, value in result.states}
        return [decode_prediction(sent.value or b"") for result in results for sent in unpacked(result.predictions)]


def record(offset: int, user: str) -> ConsumerRecord[bytes, bytes]:
    value = json.dumps({"user_id": user, "type": "view", "item_id": f"item {offset}"}).encode()
    return make_record(value, key=user.encode(), offset=offset, timestamp=1_700_000_000_000 + HOUR * offset)


def test_scores_stand_in_predictions_where_they_are_wanted() -> None:
    for one in Bench("scores").answer(*range(4)):
        assert (one.leave_probability, one.return_probability) == pytest.approx((0.25, 0.75))
        assert one.segment is None


def test_who_comes_often_changes_segment_once() -> None:
    predictions = Bench("segment").answer(*range(7))
    assert [one.segment.name for one in predictions if one.segment] == ["few visits"] * 3 + ["returning"] * 4
    assert isinstance(predictions[-1].segment, Segment)
    assert 0 <= predictions[-1].segment.fit <= 1
    assert predictions[0].leave_probability is None


def test_users_of_segments_are_counted_where_they_are() -> None:
    def counted() -> list[float | None]:
        names = ("few visits", "returning")
        return [bench.registry.get_sample_value("nextact_segment_users", {"segment": name}) for name in names]

    bench = Bench("segment")
    bench.answer(*range(3))
    bench.answer(3, 4, user="v")
    assert counted() == [2, 0]
    bench.answer(*range(5, 9))
    assert counted() == [1, 1]
    bench.engine.clear()
    assert counted() == [0, 0]
    bench.answer(9, user="u")
    assert counted() == [0, 1]


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_restart_changes_nothing(cut: int) -> None:
    whole = Bench("segment,scores").answer(*range(7))
    first = Bench("segment,scores")
    before = first.answer(*range(cut))
    after = Bench("segment,scores", first.shelf).answer(*range(cut, 7))
    assert [one.segment for one in (*before, *after)] == [one.segment for one in whole]


def test_without_a_profile_predictions_and_records_are_as_before() -> None:
    bench = Bench("none")
    for one in bench.answer(*range(3)):
        profile = (one.leave_probability, one.return_probability, one.preferences, one.segment, one.reasons)
        assert profile == (None,) * 5
    assert not bench.engine.states.columns
