"""Answers about users as they are, without an event of theirs: what would be published, and what fits given items.

Shapes: N users, G items given for a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.event_time import judge_times
from model.data.events import Actions, ItemNames, actions_of, item_key
from model.items.attributes import completed
from model.kernels.compiled import Floats
from model.serving.asked_users import repeated_actions
from model.serving.state_engine import SteppedEvents
from model.state.user_record import records_of
from model.state.user_states import UserStates
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.prediction_json import SourceEvents
from stream_app.pipeline.batches import AskedUsers
from stream_app.pipeline.pipeline import Pipeline

SOMEBODY: Final = ""  # stands for a user who has no id: those of users have a character or more
NOWHERE: Final = 0  # the partition of somebody


class AskingPipeline(Pipeline):
    """A pipeline whose engine's states are for asking only: whoever asks clears them afterwards."""

    def asked(self, partitions: Sequence[int], users: Sequence[str]) -> AskedUsers:
        """Returns what would be published of N users of partitions (N,) as they are, each of whom comes once.

        The prediction's id is that of an event that never was.
        """
        states, actions, shares = self._state_engine.states, *self._as_they_are(partitions, users)
        predictions, slots = [b""] * len(users), np.zeros(len(users), np.int64)
        for stepped in shares:
            answers, _ = self._answer_engine.answer(stepped)
            rows = stepped.events.indices
            events = _last_events(actions.take(rows), np.array(partitions)[rows], states, stepped)
            values = records_of(*self._predictions.encode(events, answers, self._profile_fields(answers)))
            slots[rows] = stepped.events.slots
            for row, value in zip(rows.tolist(), values, strict=True):
                predictions[row] = value
        hidden = states.hidden[torch.from_numpy(slots).to(states.device)]
        return AskedUsers(predictions, hidden.cpu().numpy())

    def scored(
        self, partitions: Sequence[int], users: Sequence[str], item_keys: Sequence[NDArray[np.uint64]]
    ) -> list[Floats]:
        """Returns the scores (G,) of items given for each of N users, by their distinct keys (G,), on the scale of
        recommendations; NaN: nothing is known of an item. While the rules serve, those that they know and do not rank
        have a score of zero."""
        _, shares = self._as_they_are(partitions, users)
        scores: list[Floats] = [np.zeros(0, np.float32)] * len(users)
        for stepped in shares:
            rows = stepped.events.indices.tolist()
            given = [item_keys[row] for row in rows]
            found = (
                self._scores_by_rules(stepped, given)
                if stepped.request is None
                else self._answer_engine.score(stepped.request, given)
            )
            for row, one in zip(rows, found, strict=True):
                scores[row] = one
        return scores

    def _scores_by_rules(self, stepped: SteppedEvents, item_keys: Sequence[NDArray[np.uint64]]) -> list[Floats]:
        answers, names = stepped.rules_answers, self._state_engine.rules.names
        assert answers is not None
        ranked = [item_key(name) for name in answers.names]
        scores = []
        for keys, items, probabilities in zip(item_keys, answers.items.tolist(), answers.probabilities, strict=True):
            score_of = dict.fromkeys(names.keys() & keys.tolist(), 0.0)
            score_of |= {
                ranked[item]: score for item, score in zip(items, probabilities.tolist(), strict=True) if item >= 0
            }
            scores.append(np.array([score_of.get(key, np.nan) for key in keys.tolist()], np.float32))
        return scores

    @property
    def is_serving(self) -> bool:
        """Whether a version serves."""
        return self._state_engine.serving is not None

    def related(self, key: int, count: int) -> list[tuple[str, float]] | None:
        """Returns at most so many items that go with one, by id, with their scores, best first; None: nothing is known
        of it, or no version serves."""
        serving = self._state_engine.serving
        return None if serving is None else self._answer_engine.related(serving, key, count)

    def take_session(self, decoded: DecodedBatch) -> None:
        """Has the states take in what somebody did who is not known; they are asked about as SOMEBODY of NOWHERE.

        Names that their events give are not kept. A version has to serve, as rules would learn from them.
        """
        times, _ = judge_times(decoded.times, decoded.record_times)
        actions = actions_of(decoded.events, times, decoded.lines, names := ItemNames())
        if self.catalogue:
            actions = completed(actions, [event.market for event in decoded.events], self.catalogue, names)
        users = [SOMEBODY] * len(actions)
        slots = self._state_engine.slots_of([NOWHERE] * len(users), users)
        self._state_engine.step_all(slots, replace(actions, users=users), np.array(decoded.positions, np.int64))

    def _as_they_are(self, partitions: Sequence[int], users: Sequence[str]) -> tuple[Actions, list[SteppedEvents]]:
        """Returns an action for each user that repeats their last one, and what it takes to answer it, by version."""
        engine = self._state_engine
        slots = engine.slots_of(partitions, users)
        actions = repeated_actions(engine.states, slots, users)
        return actions, engine.step_all(slots, actions, engine.states.offsets[slots] + 1)


def _last_events(
    actions: Actions, partitions: NDArray[np.int64], states: UserStates, stepped: SteppedEvents
) -> SourceEvents:
    """Returns what predictions say of the events (N,) that repeat what users did last."""
    zeros, positions = np.zeros(len(partitions), np.int64), states.offsets[stepped.events.slots]
    return SourceEvents(
        users=actions.users,
        event_ids=[None] * len(partitions),
        types=actions.types,
        times=actions.times,
        verdicts=zeros.astype(np.uint8),
        partitions=partitions,
        offsets=positions - 1,
        positions=positions,
        history_lengths=stepped.history_lengths,
    )
