"""Online scores: answers are scored by item keys, purchases by version, and both forget what they must not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data.events import EVENT_TYPES, PURCHASE_WITHIN_MS, TYPE_CODES
from model.profile.scores import LEFT_AFTER_MS, ScoreAnswers
from model.serving.answers import Answers
from model.serving.hit_moments import HitMoments
from model.serving.new_events import NewEvents
from model.serving.online_scores import NOTHING, BatchScores, OnlineScores, VersionScore
from model.serving.outcomes import Foretold

SLOTS = 4
KEYS = np.array([101, 102, 103], np.uint64)  # of three items


def events_of(*slots: int, time: int = 0, item: int = 0, applied: bool = True) -> NewEvents:
    """Events of users in slots, all on one item."""
    count = len(slots)
    return NewEvents(
        indices=np.arange(count),
        slots=np.array(slots, np.int64),
        partitions=np.zeros(count, np.int32),
        item_keys=np.full(count, KEYS[item]),
        types=np.full(count, TYPE_CODES["view"], np.uint8),
        times=np.full(count, time),
        applied=np.full(count, applied),
        late=np.zeros(count, np.bool_),
        scored=np.full(count, applied),
    )


def answers_of(count: int, version: str = "v1", purchase: float = 0.25) -> Answers:
    """Answers that rank the second item, then the first one."""
    types = len(EVENT_TYPES)
    return Answers(
        version=version,
        names=["a", "b", "c"],
        items=np.tile([1, 0], (count, 1)),
        probabilities=np.full((count, 2), 0.5, np.float32),
        next_type=np.full((count, types), 1 / types, np.float32),
        type_given_item=np.full((count, 2, types), 1 / types, np.float32),
        purchase=np.full(count, purchase, np.float32),
    )


def score(scores: OnlineScores, events: NewEvents, answers: Answers) -> BatchScores:
    return scores.score(events, answers, KEYS[answers.items], SLOTS)


@pytest.mark.parametrize(("item", "rank"), [(1, 1), (0, 2), (2, 0)])
def test_an_event_scores_the_answer_before_it(item: int, rank: int) -> None:
    scores = OnlineScores()
    assert score(scores, events_of(0, 1), answers_of(2)).ranks.tolist() == []
    assert score(scores, events_of(1, item=item), answers_of(1)).ranks.tolist() == [rank]


def test_a_repeat_scores_nothing_and_starts_no_purchase_prediction() -> None:
    scores = OnlineScores()
    score(scores, events_of(0, applied=False), answers_of(1))
    assert score(scores, events_of(0, applied=False), answers_of(1)).ranks.tolist() == []
    later = score(scores, events_of(0, time=PURCHASE_WITHIN_MS + 1), answers_of(1))
    assert later.purchases.predicted.tolist() == []


def test_a_purchase_probability_is_settled_within_its_version() -> None:
    scores = OnlineScores()
    score(scores, events_of(0), answers_of(1, "old", 0.25))
    score(scores, events_of(0), answers_of(1, "new", 0.75))
    later = events_of(0, time=PURCHASE_WITHIN_MS + 1)
    settled = score(scores, later, answers_of(1, "new", 0.5))
    assert settled.purchases.predicted.tolist() == [0.25], "a user has one prediction at a time"
    assert [settled.versions[number] for number in settled.purchases.versions.tolist()] == ["old"]
    after = score(scores, events_of(0, time=2 * PURCHASE_WITHIN_MS + 2), answers_of(1, "old"))
    assert [after.versions[number] for number in after.purchases.versions.tolist()] == ["new"]


def test_what_is_forgotten_is_not_scored() -> None:
    scores = OnlineScores()
    score(scores, events_of(0), answers_of(1))
    assert scores.nbytes > 0
    scores.forget(np.array([0]))
    later = score(scores, events_of(0, time=PURCHASE_WITHIN_MS + 1), answers_of(1))
    assert later.ranks.tolist() == later.purchases.predicted.tolist() == []


def test_predicted_purchases_outlive_the_rankings_of_their_version() -> None:
    scores = OnlineScores()
    score(scores, events_of(0), answers_of(1, "old", 0.25))
    scores.forget_rankings()
    later = score(scores, events_of(0, time=PURCHASE_WITHIN_MS + 1), answers_of(1, "new", 0.75))
    assert later.ranks.tolist() == []
    assert later.purchases.predicted.tolist() == [0.25]
    assert [later.versions[number] for number in later.purchases.versions.tolist()] == ["old"]


def test_who_does_not_act_again_within_half_an_hour_has_left() -> None:
    """Of who stays nothing is said before that time is over, or they would be too many for a while."""
    scores, total = OnlineScores(), VersionScore()
    leaving = replace(answers_of(2), scores=ScoreAnswers(np.array([0.25, 0.75], np.float32), None))
    score(scores, events_of(0, 1), leaving)
    one = replace(answers_of(1), scores=ScoreAnswers(np.array([0.5], np.float32), None))
    for minutes in (1, 30):
        assert not len(score(scores, events_of(0, time=minutes * 60_000), one).stays.came), "who stays"
    settled = score(scores, events_of(0, 1, time=LEFT_AFTER_MS + 1), leaving)
    assert settled.stays.came.tolist() == [True, False]
    total.settle(settled.purchases, settled.stays)
    assert total.stays.opposite == Foretold(outcomes=2, probability=1.0, came=1)
    assert VersionScore.after(total).stays == total.stays
    scores.forget(np.array([0, 1]))
    assert not len(score(scores, events_of(0, 1, time=3 * LEFT_AFTER_MS), leaving).stays.came)


def test_hits_of_one_user_are_known_to_be_alike() -> None:
    scores, total = OnlineScores(), VersionScore()
    for _ in range(3):
        scored = score(scores, events_of(0, 1, item=1), answers_of(2))
        total.add(answers_of(2), scored)
    assert (total.scored, total.hits) == (4, 4)
    assert total.moments == HitMoments(users=2, nn=8, hn=8, hh=8, rn=8, rr=8)


def test_a_versions_score_adds_up() -> None:
    total = VersionScore()
    assert total.coverage == 0.0
    total.add(answers_of(2), replace(NOTHING, ranks=np.array([1, 0, 4])))
    total.add(answers_of(1), NOTHING)
    assert (total.scored, total.hits, total.reciprocal_ranks) == (3, 2, 1.25)
    assert total.coverage == pytest.approx(2 / 3)  # the third item was never recommended


def test_a_versions_score_follows_when_items_come() -> None:
    total, names, answers = VersionScore(), ["a", "b", "c"], answers_of(1)
    recommended = set[int]()
    for count in (3, 4, 5, 200, 200, 201):
        names += [f"item {n}" for n in range(len(names), count)]
        items = np.full_like(answers.items, -1)
        items[:, 0] = count - 1
        recommended.add(count - 1)
        total.add(replace(answers, names=names, items=items), NOTHING)
        assert total.coverage == pytest.approx(len(recommended) / count)
