"""The half of a worker's program that answers: from stepped events to answers, and how well the answers before did.

It shares nothing that changes with the half that steps (`state_engine`), so that one thread answers a batch while
another steps the next one.
Shapes: N events, M of them new, k ranked items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.profile.parts import Part
from model.profile.preference_hits import PreferenceHits
from model.profile.preference_shares import UNFITTED_MODEL
from model.serving.answers import Answers, ranked_keys
from model.serving.online_scores import NOTHING, BatchScores, OnlineScores
from model.serving.serving import RankingRequest, Serving
from model.serving.state_engine import SteppedEvents
from model.statistics.statistics_table import StatisticsTable


class BatchAnswers(NamedTuple):
    """The answers after new events, and what these events say about the answers before them."""

    answers: Answers  # M of them
    scores: BatchScores  # of the version's answers before; those of the rules are scored when they step


class StatisticsSource(Protocol):
    """Keeps live statistics of items."""

    def up_to_date(self) -> AbstractContextManager[StatisticsTable | None]:
        """Brings the table up to date, and keeps it as it is for a batch of answers; None: there is none to use."""


class NoStatistics:
    """Stands for live statistics where there are none: versions answer by their own.

    Engines that share it take turns, as those do that share live statistics: a version answers one of them at a time.
    """

    def __init__(self) -> None:
        self._lock = Lock()

    @contextmanager
    def up_to_date(self) -> Iterator[StatisticsTable | None]:
        """See `StatisticsSource`."""
        with self._lock:
            yield None


class AnswerEngine:
    """Answers stepped events, and keeps each user's last answer until the user's next event scores it.

    The thread that answers owns it.
    """

    def __init__(self, parts: frozenset[Part] = frozenset(), explained: int = 0) -> None:
        """`parts` of profiles are answered with, as far as a version has them; reasons for so many items."""
        self._parts = parts
        self._explained = explained if "reasons" in parts else 0
        self.statistics: StatisticsSource = NoStatistics()
        self._scores = OnlineScores()
        self._preference_hits = PreferenceHits()
        self._versions_begun = 0  # versions that had begun to serve when the kept answers were given

    @property
    def nbytes(self) -> int:
        """Bytes of the kept answers."""
        return self._scores.nbytes + self._preference_hits.nbytes

    @torch.inference_mode()
    def answer(self, stepped: SteppedEvents) -> BatchAnswers:
        """Answers each new event of a batch; batches must come in the order in which they were stepped."""
        if len(stepped.freed_slots):
            self._scores.forget(stepped.freed_slots)
            self._preference_hits.forget(stepped.freed_slots)
        if stepped.versions_begun != self._versions_begun:
            self._scores.forget_rankings()
            self._versions_begun = stepped.versions_begun
        request = stepped.request
        if request is None:
            assert stepped.rules_answers is not None
            return BatchAnswers(self._with_profile(stepped.rules_answers, stepped), NOTHING)
        with self.statistics.up_to_date() as table:
            request.serving.follow(table)
            answers = self._with_profile(request.answer(self._explained), stepped)
        ranked = ranked_keys(answers.items, request.serving.ranking.item_keys)
        return BatchAnswers(answers, self._scores.score(stepped.events, answers, ranked, stepped.capacity))

    @torch.inference_mode()
    def score(self, request: RankingRequest, item_keys: Sequence[NDArray[np.uint64]]) -> list[NDArray[np.float32]]:
        """Scores items given for each of M users, by their distinct keys, as `answer` would; NaN: nothing is known."""
        with self.statistics.up_to_date() as table:
            request.serving.follow(table)
            return request.score(item_keys)

    @torch.inference_mode()
    def related(self, serving: Serving, item_key: int, count: int) -> list[tuple[str, float]] | None:
        """Returns at most so many items that go with one, by id, with their scores, best first; None: nothing is known
        of it."""
        with self.statistics.up_to_date() as table:
            serving.follow(table)
            found = serving.ranking.related(item_key, count)
            if found is None:
                return None
            pairs = zip(found.numbers.tolist(), found.scores.tolist(), strict=True)
            return [(serving.names[number], score) for number, score in pairs]

    def _with_profile(self, answers: Answers, stepped: SteppedEvents) -> Answers:
        """Adds what is said of the users beside what they will do next."""
        request = stepped.request
        heads = request.serving.scores if request is not None and "scores" in self._parts else None
        if heads is not None and request is not None:
            answers = replace(answers, scores=heads.answer(request.recent, stepped.rhythms, stepped.events.times))
        if stepped.segments is not None:
            answers = replace(answers, segments=stepped.segments)
        if stepped.liked is None:
            return answers
        if request is None:
            model, vectors = UNFITTED_MODEL, np.zeros((len(answers.purchase), 0), np.float32)
        else:
            model, vectors = request.serving.preferences, request.vectors.cpu().numpy()
        liked, events = model.answer(stepped.liked.after, vectors), stepped.events
        turned_to = stepped.liked.turned_to * events.scored[:, None]
        scored = self._preference_hits.score(events.slots, turned_to, liked.shares.keys, stepped.capacity)
        return replace(answers, liked=replace(liked, scored=scored))
