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
from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, HIDDEN, make_record, make_version, unpacked

SERVING = serve(replace(make_version(), profile=Profile(scores=Scores(Score(0.25), Score(0.75)))), CPU)


def record(offset: int, user: str = "u") -> ConsumerRecord[bytes, bytes]:
    value = json.dumps({"user_id": user, "type": "view", "item_id": f"item {offset}"}).encode()
    return make_record(value, key=user.encode(), offset=offset, timestamp=1_700_000_000_000 + 60_000 * offset)


def predictions(profile: str) -> list[Prediction]:
    settings = load_settings({"profile": profile, "hidden": HIDDEN})
    engine, ticks = new_engine(settings, CPU), count()
    engine.serve(SERVING)
    pipeline = Pipeline(engine, settings, WorkerMetrics(CollectorRegistry()), lambda: float(next(ticks)))
    batch = [record(offset, "uvw"[offset % 3]) for offset in range(8)]
    results = pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(batch, 1))))
    return [decode_prediction(sent.value or b"") for result in results for sent in unpacked(result.predictions)]


def test_scores_stand_in_predictions_where_they_are_wanted() -> None:
    assert [one.leave_probability for one in predictions("scores")] == pytest.approx([0.25] * 8)


def test_without_a_profile_predictions_are_as_before() -> None:
    for one in predictions("none"):
        assert one == replace_profile(one)


def replace_profile(one: Prediction) -> Prediction:
    """The same without anything of a profile."""
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    nothing = dict.fromkeys(("leave_probability", "return_probability", "preferences", "segment", "reasons"))
    return Prediction(**fields | nothing)
