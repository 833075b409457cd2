"""The whole program in one function: (user states, events) -> (user states, answers).

One batch is the events of any partitions, each in log order. A user's second event of the batch is stepped in round
two, so rounds are batches of distinct users.
The function has two halves: `step` changes the users' states, `answer` says what comes next of what the first half
found. They share nothing that changes, so one thread may step a batch while another answers the batch before it.
Shapes: N events, M of them new, U distinct users, k ranked items, K event types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.contexts import contexts_of
from model.data.event_time import user_clocks
from model.data.events import SEARCH, Actions
from model.data.recent import Recent
from model.serving.answers import Answers
from model.serving.canary import Canary
from model.serving.live_rules import LiveRules
from model.serving.online_hits import OnlineHitRate
from model.serving.online_scores import NOTHING, BatchScores, OnlineScores
from model.serving.recent_actions import recent_actions
from model.serving.rules import Rules
from model.serving.serving import Serving, answer
from model.state.history_rings import ranks_within
from model.state.user_states import UserStates

_ENCODED_AT_ONCE: Final = 256  # users, so that (users, L, D) stays small


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a batch made of the users, and all that it takes to answer it: nothing here changes with the next batch."""

    places: NDArray[np.int64]  # (M,) of the new events in the batch; the others are replays, answered before
    slots: NDArray[np.int64]  # (M,)
    partitions: NDArray[np.int32]  # (M,)
    history_lengths: NDArray[np.int64]  # (M,)
    touched: NDArray[np.int64]  # (U,) slots whose records changed
    applied: NDArray[np.bool_]  # (M,); the others are new, but of an event id seen before: answered, not applied
    late: NDArray[np.bool_]  # (M,) older than the user's clock, so without effect on it
    scored: NDArray[np.bool_]  # (M,) on an item: they score the answers before them
    rules_places: NDArray[np.int64]  # where next items stood in the rules' answers before, for users whom they follow
    actions: Actions  # (M,)
    asked: _Asked | None  # None where nothing serves
    by_rules: Answers | None  # there where nothing serves
    served: int  # versions that had begun to serve by then
    forgotten: NDArray[np.int64]  # slots taken from their users since the batch before
    capacity: int  # slots that there were

    @property
    def duplicates(self) -> int:
        """How many are not applied."""
        return len(self.applied) - int(self.applied.sum())


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a version is asked."""

    serving: Serving
    vectors: Tensor  # (M, D) of the users after their events
    recent: Recent


class Answered(NamedTuple):
    """What was said of a batch, and what the batch said of what was said before."""

    answers: Answers  # M of them
    scored: BatchScores  # the version's answers before


class Fold:
    """The states, what serves them, and the rules that run beside it."""

    def __init__(self, states: UserStates, *, rules_share: float) -> None:
        """`rules_share` of the users (by slot) are followed by the rules too when a model serves, as its yardstick."""
        self.states = states
        self.serving: Serving | None = None
        self.canary: Canary | None = None
        self._served = 0
        self._rules = LiveRules(Rules())
        self._rules_stride = round(1 / rules_share) if rules_share > 0 else 0
        self._rules_scores = OnlineHitRate()
        self._forgotten = np.zeros(0, np.int64)  # slots taken from their users since the last batch
        self._model_scores = OnlineScores()  # this and the next one belong to the answers
        self._scored_since = 0  # versions that had begun to serve when the kept answers were given

    def serve(self, serving: Serving, canary: Canary | None = None) -> None:
        """From the next batch on. Answers given so far are not scored: they are another version's."""
        self.serving, self.canary = serving, canary
        self._served += 1

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept per user."""
        return self.states.nbytes + self._model_scores.nbytes + self._rules_scores.nbytes

    def slots_of(self, partitions: Sequence[int], users: Sequence[str]) -> NDArray[np.int64]:
        """Begins a batch: the slots of its users, (N,); see `UserStates.slots_of`."""
        slots = self.states.slots_of(partitions, users)
        self._forget_answers(self.states.evicted)
        return slots

    def clear(self) -> None:
        """Forgets all users; those who are stored come back when they are touched."""
        self._forget_answers(self.states.clear())

    def _forget_answers(self, slots: NDArray[np.int64]) -> None:
        self._rules_scores.forget(slots)
        self._forgotten = np.concatenate((self._forgotten, slots))

    def step_all(self, slots: NDArray[np.int64], actions: Actions, offsets: NDArray[np.int64]) -> list[Stepped]:
        """As `step`, but users of the canary for the version before: a part for each version."""
        if self.canary is None:
            return [self.step(slots, actions, offsets)]
        stays = self.canary.stays(actions.users)
        shares = (np.flatnonzero(~stays), self.serving), (np.flatnonzero(stays), self.canary.before)
        return [self._share(slots, actions, offsets, places, serving) for places, serving in shares if len(places)]

    def _share(
        self,
        slots: NDArray[np.int64],
        actions: Actions,
        offsets: NDArray[np.int64],
        places: NDArray[np.int64],
        serving: Serving | None,
    ) -> Stepped:
        stepped = self.step(slots[places], actions.take(places), offsets[places], serving)
        return replace(stepped, places=places[stepped.places])

    @torch.inference_mode()
    def step(
        self,
        slots: NDArray[np.int64],
        actions: Actions,
        offsets: NDArray[np.int64],
        serving: Serving | None = None,
    ) -> Stepped:
        """Applies the events (N,) of users in `slots`, each user's by rising offset.

        By default what serves is to answer, or the rules where nothing does.
        """
        states, serving = self.states, serving or self.serving
        new = np.flatnonzero(offsets > states.offsets[slots])
        slots, actions = slots[new], actions.take(new)
        repeated = states.duplicates(slots, actions.event_ids)
        clocks, late = user_clocks(slots, actions.times, states.last_times[slots], ~repeated)
        actions = replace(actions, times=clocks)
        scored = (actions.types != SEARCH) & ~repeated
        by_rules, rules_places = self._by_rules(slots, actions, ~repeated, scored, answer=serving is None)
        asked, lengths = self._apply(serving, slots, actions, repeated)
        states.offsets[slots] = offsets[new]  # ascending, so each user's last one stays
        forgotten, self._forgotten = self._forgotten, self._forgotten[:0]
        return Stepped(
            places=new,
            slots=slots,
            partitions=states.partitions_of(slots),
            history_lengths=lengths,
            touched=np.unique(slots),
            applied=~repeated,
            late=late,
            scored=scored,
            rules_places=rules_places,
            actions=actions,
            asked=asked,
            by_rules=by_rules,
            served=self._served,
            forgotten=forgotten,
            capacity=states.capacity,
        )

    @torch.inference_mode()
    def answer(self, stepped: Stepped) -> Answered:
        """Answers after each new event of a batch, batch after batch as they were stepped."""
        self._model_scores.forget(stepped.forgotten)
        if stepped.served != self._scored_since:
            self._model_scores.forget_all()
            self._scored_since = stepped.served
        answers, scored = stepped.by_rules, NOTHING
        if stepped.asked is not None:
            asked = stepped.asked
            answers = answer(asked.serving, asked.vectors, asked.recent)
            scored = self._score(stepped, asked.serving, answers)
        assert answers is not None
        return Answered(answers, scored)

    def _by_rules(
        self,
        slots: NDArray[np.int64],
        actions: Actions,
        applied: NDArray[np.bool_],
        scored: NDArray[np.bool_],
        *,
        answer: bool,
    ) -> tuple[Answers | None, NDArray[np.int64]]:
        """Answers of the rules to the users whom they follow, if asked, and where next items stood in those before."""
        followed = np.flatnonzero(self._followed(slots))
        if not len(followed) and not answer:
            return None, np.zeros(0, np.int64)
        actions, slots = actions.take(followed), slots[followed]
        answers, ranked = self._rules.follow(actions, slots, applied[followed], self.states.histories, answer=answer)
        everyone = np.ones(len(followed), np.bool_)
        places = self._rules_scores.score(
            slots, actions.item_keys, scored[followed], ranked, everyone, self.states.capacity
        )
        self._rules.was_right_at(places)
        return answers, places

    def _followed(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The users whom the rules learn from and answer: everyone before there is a model, then a share."""
        if self.serving is None:
            return np.ones(len(slots), np.bool_)
        return slots % self._rules_stride == 0 if self._rules_stride else np.zeros(len(slots), np.bool_)

    def _apply(
        self, serving: Serving | None, slots: NDArray[np.int64], actions: Actions, repeated: NDArray[np.bool_]
    ) -> tuple[_Asked | None, NDArray[np.int64]]:
        """Steps and remembers what is not a repeat; what the version is asked, if one serves, and lengths after each
        event (M,)."""
        states = self.states
        applied = np.flatnonzero(~repeated)
        fresh, fresh_slots = actions.take(applied), slots[applied]
        contexts = contexts_of(fresh, fresh_slots, states.last_times[fresh_slots], states.sessions[fresh_slots])
        ranks = ranks_within(fresh_slots)
        source = _sources(slots, repeated)
        asked = None
        if serving is not None:
            vectors = self._vectors(serving, slots, source, fresh_slots, ranks, fresh, contexts)
            recent = recent_actions(
                serving.vocabulary, states.histories, slots, ~repeated, ranks, fresh.item_keys, contexts
            )
            asked = _Asked(serving, vectors, recent)
        lengths_before = states.histories.counts[slots]
        after = states.histories.append(fresh_slots, ranks, fresh.item_keys, contexts)
        states.remember(fresh_slots, fresh)
        padded = np.concatenate((after, np.zeros(1, np.int64)))
        return asked, np.where(source >= 0, padded[source], lengths_before)

    def _vectors(
        self,
        serving: Serving,
        slots: NDArray[np.int64],
        source: NDArray[np.int64],
        fresh_slots: NDArray[np.int64],
        ranks: NDArray[np.int64],
        fresh: Actions,
        contexts: NDArray[np.uint32],
    ) -> Tensor:
        """Steps the fresh actions; the vector (M, D) of each event's user after it, or as the user is for a repeat."""
        self._encode_again(serving, slots)
        missing = source < 0
        readout = self._readout_vectors(serving, slots[missing]) if missing.any() else None
        vectors = self._step(serving, fresh_slots, ranks, fresh, contexts)
        if readout is not None:
            vectors = torch.cat((vectors, readout))
        return vectors[torch.from_numpy(_places(source, len(fresh)))] if len(fresh) < len(slots) else vectors

    def _encode_again(self, serving: Serving, slots: NDArray[np.int64]) -> None:
        """Hidden states of users last touched under other weights, anew from their sequences."""
        states = self.states
        stale = np.unique(slots[states.weights_id[slots] != serving.weights_id])
        states.weights_id[stale] = serving.weights_id
        stale = stale[states.histories.counts[stale] > 0]  # the others begin at zero
        for chunk in np.split(stale, range(_ENCODED_AT_ONCE, len(stale), _ENCODED_AT_ONCE)) if len(stale) else ():
            item_keys, contexts, sizes = states.histories.gather(chunk)
            steps = int(sizes.max())
            tokens = serving.vocabulary.tokens(item_keys[:, :steps], contexts[:, :steps]).to(serving.device)
            hidden, _ = serving.network(tokens)
            index = torch.from_numpy(sizes).to(serving.device)
            last = hidden[torch.arange(len(chunk), device=serving.device), index - 1]
            states.hidden[torch.from_numpy(chunk).to(serving.device)] = last.half()

    def _readout_vectors(self, serving: Serving, slots: NDArray[np.int64]) -> Tensor:
        """The vectors of users as they are, without a step: from hidden state and last action."""
        item_keys, contexts, _ = self.states.histories.gather(slots, 1)
        tokens = serving.vocabulary.tokens(item_keys[:, 0], contexts[:, 0]).to(serving.device)
        state = self.states.hidden[torch.from_numpy(slots).to(serving.device)].float()
        return serving.network.readout(tokens, state)

    def _step(
        self,
        serving: Serving,
        slots: NDArray[np.int64],
        ranks: NDArray[np.int64],
        actions: Actions,
        contexts: NDArray[np.uint32],
    ) -> Tensor:
        """One step per action, a round for each rank; the vector after each, (M, D)."""
        tokens = serving.vocabulary.tokens(actions.item_keys, contexts).to(serving.device)
        users = torch.from_numpy(slots).to(serving.device)
        if not ranks.any():  # nobody is there twice, as in most small batches
            return serving.stepper.step(tokens, users, np.array([0, len(slots)]), self.states.hidden)
        order = np.argsort(ranks, kind="stable")
        rows = torch.from_numpy(order).to(serving.device)
        cuts = np.array([0, *(np.flatnonzero(np.diff(ranks[order])) + 1), len(order)])
        stepped = serving.stepper.step(tokens[rows], users[rows], cuts, self.states.hidden)
        vectors = torch.empty_like(stepped)
        vectors[rows] = stepped
        return vectors

    def _score(self, stepped: Stepped, serving: Serving, answers: Answers) -> BatchScores:
        return self._model_scores.score(
            serving,
            answers,
            stepped.slots,
            stepped.partitions,
            stepped.actions,
            scored=stepped.scored,
            applied=stepped.applied,
            capacity=stepped.capacity,
        )


def _places(source: NDArray[np.int64], applied: int) -> NDArray[np.int64]:
    """Where the vector of each event (M,) stands: among the applied ones' or, one after the other, behind them."""
    missing = source < 0
    return np.where(missing, applied + np.cumsum(missing) - 1, source)


def _sources(slots: NDArray[np.int64], repeated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each event (M,) the applied event whose state it shows, counted among the applied: its own or,
    for a repeat, the user's last one before it in the batch; -1: there is none."""
    source = np.cumsum(~repeated) - 1
    for place in np.flatnonzero(repeated).tolist():
        earlier = np.flatnonzero((slots[:place] == slots[place]) & ~repeated[:place])
        source[place] = source[earlier[-1]] if len(earlier) else -1
    return source
