"""The oracle of questions accepts honest answers, and complains of every kind of wrong one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.oracle import Topics, Verdict
from tests.faults.questions import AskedQuestion, judge_questions
from tests.faults.replay import Expected, Record
from tests.unit.builders.topic_records import LoggedRecord

NOW = 1_700_000_000_000
FIRST, SECOND, OTHER = (0, 0), (0, 1), (0, 2)  # events of "u", and of "v"
TIMES = {FIRST: NOW - 50_000, SECOND: NOW - 40_000, OTHER: NOW - 30_000}


def prediction(user: str, place: tuple[int, int], length: int) -> dict[str, Any]:
    return {
        "prediction_id": f"{place}",
        "user_id": user,
        "history_length": length,
        "source": {"partition": place[0], "offset": place[1]},
    }


PUBLISHED = [prediction("u", FIRST, 1), prediction("u", SECOND, 2), prediction("v", OTHER, 1)]


def logged(place: tuple[int, int], value: Any, after: int = 0) -> LoggedRecord:
    return LoggedRecord(*place, b"", json.dumps(value).encode(), timestamp=TIMES[place] + after)


def verdict(*asked: AskedQuestion) -> Verdict:
    answers = {
        place: {"user_id": one["user_id"], "history_length": one["history_length"], "event_timestamp": TIMES[place]}
        for place, one in zip(TIMES, PUBLISHED, strict=True)
    }
    predictions: list[Record] = [logged(place, one, 20) for place, one in zip(TIMES, PUBLISHED, strict=True)]
    changelog: list[Record] = [replace(logged(SECOND, {}, 25), key=b"u")]
    topics = Topics(predictions, [], changelog)
    found = Verdict()
    judge_questions(found, asked, Expected(answers, {}, {}, {}), topics, [logged(place, {}) for place in TIMES])
    return found


def asked(source: str = "published", number: int = 1, **changes: Any) -> AskedQuestion:
    """What is asked about "u"."""
    shown = PUBLISHED[number] | ({"prediction_id": None} if source == "state" else {})
    age = NOW - list(TIMES.values())[number]
    content = {"user_id": "u", "prediction": shown, "source": source, "age_ms": age} | changes
    return AskedQuestion("worker-1", "u", NOW - 5, NOW + 5, 200, content)


@pytest.mark.parametrize("source", ["published", "state"])
@pytest.mark.parametrize("number", [0, 1])
def test_the_newest_answer_is_right_and_an_older_one_that_says_so(source: str, number: int) -> None:
    found = verdict(asked(source, number))
    assert (found.wrong_questions, found.questions, found.examples) == (0, {"200": 1}, [])


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (asked(number=2), "answer of"),
        (asked(user_id="v"), "answer of"),
        (asked(prediction=PUBLISHED[1] | {"history_length": 3}), "not published like that"),
        (asked(prediction=PUBLISHED[1] | {"prediction_id": "(0, 9)"}), "not published like that"),
        (asked("state", prediction=PUBLISHED[1] | {"history_length": 9}), "has 9 actions"),
        (asked(age_ms=100), "is told 100 ms"),
        (asked(number=0, age_ms=40_000), "is told 40000 ms"),
        (asked("state", number=0, age_ms=40_000), "is told 40000 ms"),
        (replace(asked(), status=404), "is not known"),
        (replace(asked(), status=503), "when to ask again"),
        (replace(asked(), status=500), "gets 500"),
    ],
)
def test_whatever_is_wrong_is_told(question: AskedQuestion, words: str) -> None:
    found = verdict(asked(), question)
    assert found.wrong_questions == 1
    assert words in found.examples[0]


def test_who_is_not_in_the_changelog_yet_may_be_unknown_until_they_are_answered() -> None:
    unknown = replace(asked(), status=404, begun=NOW, ended=NOW + 5)
    assert verdict(asked(), replace(unknown, user="v")).wrong_questions == 0
    answered = replace(asked(age_ms=1005), begun=TIMES[SECOND] + 1000, ended=TIMES[SECOND] + 1010)
    before = replace(unknown, begun=answered.begun, ended=answered.ended)
    assert verdict(answered, before).wrong_questions == 0
    after = replace(unknown, begun=TIMES[SECOND] + 2010, ended=TIMES[SECOND] + 2020)
    assert verdict(after, answered).examples == [
        "wrong_questions: u, asked of worker-1, is not known, 12.0 s after the first prediction, 2.0 s after the first "
        "record in the changelog, 1.0 s after the first answer"
    ]


def test_there_may_be_no_answer_for_a_while() -> None:
    refused = replace(asked(), status=503, retry_after="1")
    early = replace(asked(), status=404, begun=TIMES[FIRST] + 1000)
    found = verdict(asked(), refused, early, replace(asked(), status=0), replace(asked(), user="w", status=404))
    assert (found.wrong_questions, found.questions) == (0, {"200": 1, "503": 1, "404": 2, "0": 1})


def test_at_least_one_question_is_answered() -> None:
    assert "no question" in verdict(replace(asked(), status=0)).examples[0]
