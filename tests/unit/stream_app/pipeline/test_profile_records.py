"""Profiles on a topic of their own: predictions lack them then, and the newest record of a user says what matters."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from model.profile.fitted_scores import Score, Scores
from model.profile.profile import Profile
from model.serving.serving import Serving, serve
from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.contract.profiles.user_profile import UserProfile, decode_profile, with_profile
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings, load_settings
from tests.unit.builders.basics import CPU, HIDDEN, Shelf, make_record, unpacked, version
from tests.unit.builders.segments import fitted_segments

BESIDE = load_settings({"profile_topic": "shop.profiles", "hidden": HIDDEN, "users_in_memory": 3})
INSIDE = BESIDE.model_copy(update={"profile_topic": ""})
SAID = ("leave_probability", "return_probability", "preferences", "segment")
ACTIONS = st.tuples(
    st.sampled_from("abcde"), st.integers(1, 9), st.sampled_from(["shoes", "hats"]), st.sampled_from(["view", "cart"])
)


@cache
def profiled() -> Serving:
    profile = Profile(segments=fitted_segments(), scores=Scores(Score(0.3), Score(0.2)))
    return serve(replace(version(), profile=profile), CPU)


class Worker:
    """A pipeline whose few slots change hands."""

    def __init__(self, settings: Settings) -> None:
        self.shelf = Shelf()
        engine = new_engine(settings, CPU, self.shelf, slots=2)
        engine.serve(profiled())
        self.pipeline = Pipeline(engine, settings, WorkerMetrics(CollectorRegistry()), lambda: 0.0)

    def take(self, records: list[Any]) -> tuple[list[Prediction], list[UserProfile]]:
        stepped = self.pipeline.step(self.pipeline.decode(records, 1))
        (result,) = self.pipeline.encode(self.pipeline.answer(stepped))
        self.shelf.update({(0, user.decode()): record for user, record in result.states})
        self.pipeline.settle(stepped.number + 1)
        profiles = [decode_profile(sent.value or b"") for sent in unpacked(result.profiles)]
        assert [sent.key for sent in unpacked(result.profiles)] == [one.user_id.encode() for one in profiles]
        return [decode_prediction(sent.value or b"") for sent in unpacked(result.predictions)], profiles


def record(offset: int, user: str, item: int, category: str, kind: str) -> Any:
    content = {"user_id": user, "type": kind, "item_id": f"item {item}", "category": category}
    content["timestamp"] = 1000 * offset  # type: ignore[assignment]
    return make_record(json.dumps(content).encode(), key=user.encode(), offset=offset, timestamp=1000 * offset)


def matters(one: Prediction | UserProfile) -> list[Any]:
    """What a profile must not be wrong about; numbers may have moved a little."""
    liked, segment = one.preferences, one.segment
    assert liked is not None
    assert segment is not None
    return [segment.id, [shares[0].name if shares else "" for shares in (liked.categories, liked.brands)]]


@settings(max_examples=30, deadline=None)
@given(st.lists(ACTIONS, min_size=1, max_size=40), st.data())
def test_a_users_newest_profile_says_what_predictions_would_say(log: list[Any], data: st.DataObject) -> None:
    beside, inside = Worker(BESIDE), Worker(INSIDE)
    records = [record(offset, *one) for offset, one in enumerate(log)]
    newest: dict[str, UserProfile] = {}
    done = written = 0
    while done < len(records):
        end = data.draw(st.integers(done + 1, len(records)))
        (bare, profiles), (full, none) = (worker.take(records[done:end]) for worker in (beside, inside))
        done, written = end, written + len(profiles)
        assert none == []
        assert bare == [msgspec.structs.replace(one, **dict.fromkeys(SAID)) for one in full]
        newest |= {one.user_id: one for one in profiles}
        assert len({one.user_id for one in profiles}) == len(profiles)
        for one in {one.user_id: one for one in full}.values():
            profile = newest[one.user_id]
            assert matters(profile) == matters(one)
            assert abs((profile.leave_probability or 0) - (one.leave_probability or 0)) <= 0.101
            if profile.event_timestamp == one.event_timestamp:
                assert with_profile(bare[full.index(one)], profile) == one
    assert written <= len(records)


def test_a_profile_that_does_not_change_is_written_once() -> None:
    worker = Worker(BESIDE)
    counts = [len(worker.take([record(offset, "a", 1, "shoes", "view")])[1]) for offset in range(12)]
    assert counts[0] == 1
    assert sum(counts) < 6
