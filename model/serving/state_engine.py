"""The half of a worker's program that steps: (user states, events) -> (user states, what it takes to answer).

A batch has events of any partitions, each partition's in log order, and an event has one action or several, which
follow each other. A user's second action of the batch is stepped in round two, so rounds are batches of distinct users.
What comes next of the events is the other half's (`answer_engine`). The halves share nothing that changes, so one
thread may step a batch while another answers the batch before it.
Shapes: N actions, M of them new, B of these applied, E new events, U distinct users, D width.
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
from model.data.events import Actions
from model.data.price_bins import NO_BINS, PriceBins
from model.data.user_clocks import user_clocks
from model.data.vocabulary import Tokens
from model.profile.preferences import LikedEvents, PreferenceCounters
from model.profile.price_bands import NO_BANDS
from model.profile.rhythm import Rhythms
from model.profile.rhythm_column import RhythmColumn
from model.profile.segments import SegmentAnswers
from model.profile.warm_up import warm_up
from model.serving.answers import Answers
from model.serving.canary import Canary
from model.serving.live_rules import LiveRules
from model.serving.new_events import AppliedActions, NewActions, NewEvents, source_actions
from model.serving.online_hits import OnlineHitRate
from model.serving.recent_actions import recent_actions
from model.serving.rules import Rules
from model.serving.serving import RankingRequest, Serving
from model.state.history_rings import ranks_within
from model.state.log_cuts import LogCut
from model.state.user_record import UserRecords
from model.state.user_states import DamagedRecord, UserStates

# Actions of a batch, about, of users whom the rules do not follow, from which they learn. An action takes them 4 to 15
# us: little where a worker keeps up with its stream, too much where it has a backlog to catch up with.
_LEARNED: Final = 64
_ENCODED_AT_ONCE: Final = 256  # users per forward pass, so that (users, L, D) stays small


@dataclass(frozen=True, slots=True)
class SteppedEvents:
    """New events that the states have taken in, and all that it takes to answer them.

    Nothing here changes with the next batch: this is what passes from the thread that steps to the one that answers.
    """

    events: NewEvents
    history_lengths: NDArray[np.int64]  # (E,) of the users, after each event
    changed_slots: NDArray[np.int64]  # (U,) slots whose records changed, ascending
    rules_ranks: NDArray[np.int64]  # ranks of next items in the rules' answers before them, of users the rules follow
    request: RankingRequest | None  # to the version that serves; None: the rules answer
    rules_answers: Answers | None  # where no version serves
    versions_begun: int  # versions that had begun to serve by then
    freed_slots: NDArray[np.int64]  # slots taken from their users since the batch before
    capacity: int  # slots that there were
    rhythms: Rhythms | None = None  # (E,) of the users, after each event; None: nobody asks
    segments: SegmentAnswers | None = None  # None: nobody asks, or the version has none
    liked: LikedEvents | None = None  # what they say of the users' preferences; None: nobody asks


class UserCounts(NamedTuple):
    """Users in memory after the last batch, how many it sent to the store or brought back, and whom it could not."""

    in_memory: int
    evicted: int
    returned: int
    damaged: Sequence[DamagedRecord]


class StateEngine:
    """The users' states, the version that serves them, and the rules that run beside it.

    The thread that steps owns it. Three calls come from elsewhere: `settle`, which sets one number, `clear`, while no
    batch is on its way, and `cut`, which sets an entry of a partition without one.
    """

    def __init__(self, states: UserStates, *, rules_share: float, rules: Rules | None = None) -> None:
        """When a model serves, the rules still follow `rules_share` of the users (by slot), to compare it with.

        They learn from others, too, in a backlog from some; a share of 0 ends them. `rules` may have learned something.
        """
        self.states = states
        self.serving: Serving | None = None
        self.canary: Canary | None = None
        self._versions_begun = 0
        self.rules = LiveRules(Rules() if rules is None else rules)
        self._rules_stride = round(1 / rules_share) if rules_share > 0 else 0
        self._rules_scores = OnlineHitRate()
        self._freed_slots = np.zeros(0, np.int64)  # slots taken from their users since the last batch
        self._preferences: PreferenceCounters | None = None
        self._rhythms: RhythmColumn | None = None
        self._assigns = False  # whether users are assigned to segments

    def count_preferences(self) -> None:
        """Counts from now on what users like, as part of their states; they have none yet."""
        warm_up()
        self._preferences = PreferenceCounters()
        self.states.keep(self._preferences)

    def follow_rhythms(self, *, segments: bool) -> RhythmColumn:
        """Follows from now on how users come and go, as part of their states; they have none yet.

        With `segments` the users are assigned to those of the version that answers them.
        """
        self._rhythms, self._assigns = RhythmColumn(self.states), segments
        self.states.keep(self._rhythms)
        return self._rhythms

    def segment_users(self) -> dict[str, float]:
        """Counts the users in memory by the name of their segment, as the version that serves calls it.

        Another thread may ask. Users whom that version has not answered yet may be in segments that it does not know.
        """
        model = None if self.serving is None else self.serving.segments
        if model is None or self._rhythms is None:
            return {}
        members = self._rhythms.members
        return {name: float(members[number]) for number, name in zip(model.ids.tolist(), model.names, strict=True)}

    def serve(self, serving: Serving, canary: Canary | None = None) -> None:
        """Serves a version from the next batch on. Answers given so far are not scored: they are another version's."""
        self.serving, self.canary = serving, canary
        self._versions_begun += 1

    def follow(self, other: StateEngine) -> None:
        """Answers as another engine of the same thread, from its users as they are: or its rules would learn twice."""
        if other.serving is not None and (other.serving, other.canary) != (self.serving, self.canary):
            self.serve(other.serving, other.canary)
        self.rules = other.rules

    @property
    def item_names(self) -> list[Sequence[str]]:
        """The ids of the items, by catalogue index, of each version that serves; empty while none does."""
        serving = (self.serving, self.canary.before if self.canary else None)
        return [version.names for version in serving if version is not None]

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept per user."""
        return self.states.nbytes + self._rules_scores.nbytes

    @property
    def hidden_size(self) -> int:
        """Numbers in a user's hidden state."""
        return self.states.hidden.shape[1]

    @property
    def batch_number(self) -> int:
        """The number of the batch begun last."""
        return self.states.batch

    def positions(self, partitions: Sequence[int], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the positions of N offsets in the logs of their partitions, (N,); see `UserStates.positions`."""
        return self.states.positions(partitions, offsets)

    def cut(self, partition: int, cut: LogCut) -> None:
        """Notes where the log of a partition was just cut, while no batch of it is on its way."""
        self.states.cut(partition, cut)

    def user_counts(self) -> UserCounts:
        """Counts the users whom the batch begun last found, sent away and brought back."""
        return UserCounts(len(self.states), len(self.states.evicted), self.states.returned, self.states.damaged)

    def slots_of(self, partitions: Sequence[int], users: Sequence[str]) -> NDArray[np.int64]:
        """Begins a batch: the slots of its users, (N,); see `UserStates.slots_of`."""
        slots = self.states.slots_of(partitions, users)
        self._forget_answers(self.states.evicted)
        return slots

    def clear(self) -> None:
        """Forgets all users; those who are stored come back when they are touched."""
        self._forget_answers(self.states.clear())

    def settle(self, before: int) -> None:
        """Lets users leave memory whom only batches below this number have touched: their effects are durable."""
        self.states.settled = before

    def snapshot(self, slots: NDArray[np.int64]) -> UserRecords:
        """Copies the records of slots (U,), which the next batch does not change."""
        return self.states.snapshot(slots)

    def _forget_answers(self, slots: NDArray[np.int64]) -> None:
        if len(slots):
            self._rules_scores.forget(slots)
            self._freed_slots = np.concatenate((self._freed_slots, slots))

    def step_all(self, slots: NDArray[np.int64], actions: Actions, positions: NDArray[np.int64]) -> list[SteppedEvents]:
        """Steps a batch as `step` does, but users of a canary for the version before: one result per version."""
        if self.canary is None:
            return [self.step(slots, actions, positions)]
        stays = self.canary.stays(actions.users)
        shares = (np.flatnonzero(~stays), self.serving), (np.flatnonzero(stays), self.canary.before)
        stepped = []
        for indices, serving in shares:
            if len(indices):
                share = self.step(slots[indices], actions.take(indices), positions[indices], serving)
                events = replace(share.events, indices=indices[share.events.indices])
                stepped.append(replace(share, events=events))
        return stepped

    @torch.inference_mode()
    def step(
        self,
        slots: NDArray[np.int64],
        actions: Actions,
        positions: NDArray[np.int64],
        serving: Serving | None = None,
    ) -> SteppedEvents:
        """Applies actions (N,) of users in `slots`, each user's by rising position of their event in the log.

        By default the version that serves is to answer, or the rules where none does. Prices are written in that
        version's bins, and stay so: an event that is replayed after a kill is written once, by whichever version serves
        when it becomes durable.
        """
        states, serving = self.states, serving or self.serving
        states.add_searches(actions.queries)
        indices = np.flatnonzero(positions > states.offsets[slots])
        new = self._new_actions(indices, slots[indices], actions.take(indices))
        events = new.events(states.partitions_of(new.slots))
        rules_answers, rules_ranks = self._follow_by_rules(new, events, answer=serving is None)
        request, lengths = self._apply(serving, new)
        liked = self._count_preferences(serving, new)
        rhythms, segments = self._follow_rhythms(new, events, request)
        states.offsets[new.slots] = positions[indices]  # ascending, so each user's last one stays
        freed, self._freed_slots = self._freed_slots, self._freed_slots[:0]
        return SteppedEvents(
            events=events,
            history_lengths=lengths,
            changed_slots=np.unique(events.slots),
            rules_ranks=rules_ranks,
            request=request,
            rules_answers=rules_answers,
            versions_begun=self._versions_begun,
            freed_slots=freed,
            capacity=states.capacity,
            rhythms=rhythms,
            segments=segments,
            liked=liked,
        )

    def _follow_rhythms(
        self, new: NewActions, events: NewEvents, request: RankingRequest | None
    ) -> tuple[Rhythms | None, SegmentAnswers | None]:
        """Follows how users come and go; returns their rhythms after each event (E,), and their segments."""
        if self._rhythms is None:
            return None, None
        rhythms = self._rhythms.follow(new.slots, new.actions, new.applied)
        model = request.serving.segments if request is not None and self._assigns else None
        if model is None or request is None:
            return rhythms, None
        return rhythms, self._rhythms.assign(model, events.slots, request.recent, rhythms)

    def _count_preferences(self, serving: Serving | None, new: NewActions) -> LikedEvents | None:
        """Counts what users like; returns it after each event (E,). Prices fall into the bands of the version."""
        if self._preferences is None:
            return None
        bands = NO_BANDS if serving is None else serving.preferences.bands
        return self._preferences.count(new.slots, new.actions, new.applied, bands)

    def _new_actions(self, indices: NDArray[np.int64], slots: NDArray[np.int64], actions: Actions) -> NewActions:
        """The new actions of a batch, which stand at `indices` (M,), with what the states say about them."""
        states = self.states
        applied = ~states.duplicates(slots, actions.event_ids, actions.lines)
        clocks, late = user_clocks(slots, actions.times, states.last_times[slots], applied)
        return NewActions(indices, slots, replace(actions, times=clocks), applied, late)

    def _follow_by_rules(
        self, new: NewActions, events: NewEvents, *, answer: bool
    ) -> tuple[Answers | None, NDArray[np.int64]]:
        """The rules' answers to the users they follow, if wanted, and the ranks of next items in those before."""
        followed = self._followed(new.slots)
        learned = np.flatnonzero(followed | self._learns_from(new.slots))
        if not len(learned) and not answer:
            return None, np.zeros(0, np.int64)
        answers, ranked = self.rules.follow(
            new.actions.take(learned),
            new.slots[learned],
            new.applied[learned],
            self.states.histories,
            followed=followed[learned],
            answer=answer,
        )
        scored = np.flatnonzero(self._followed(events.slots))
        answered, capacity = np.ones(len(scored), np.bool_), self.states.capacity
        ranks = self._rules_scores.score(
            events.slots[scored], events.item_keys[scored], events.scored[scored], ranked, answered, capacity
        ).ranks
        self.rules.count_ranks(ranks)
        return answers, ranks

    def _learns_from(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """From which actions the rules learn beside whom they follow: of large batches those of some users, in turn."""
        some: NDArray[np.bool_] = (slots + self.batch_number) % max(-(-len(slots) // _LEARNED), 1) == 0
        return some if self._rules_stride else np.zeros_like(some)

    def _followed(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which users the rules answer and are scored on: everyone before there is a model, then a share."""
        if self.serving is None:
            return np.ones(len(slots), np.bool_)
        return slots % self._rules_stride == 0 if self._rules_stride else np.zeros(len(slots), np.bool_)

    def _apply(self, serving: Serving | None, new: NewActions) -> tuple[RankingRequest | None, NDArray[np.int64]]:
        """Steps and remembers the applied actions; returns what the version is asked, if one serves, and the length of
        the user's history after each event (E,)."""
        histories, last = self.states.histories, new.last
        applied = self._applied_actions(new, last, NO_BINS if serving is None else serving.bins)
        actions, contexts = applied.actions, applied.contexts
        slots = new.slots if last is None else new.slots[last]
        request = None
        if serving is not None:
            vectors = self._vectors(serving, slots, applied)
            recent = recent_actions(serving.vocabulary, histories, new.slots, new.applied, actions.item_keys, contexts)
            recent = (recent if last is None else recent.select(last)).with_words(self.states.searches.table)
            request = RankingRequest(serving, vectors, recent)
        lengths_before = histories.counts[slots]
        lengths = histories.append(applied.slots, actions.item_keys, contexts)
        self.states.remember(applied.slots, actions)
        padded = np.concatenate((lengths, np.zeros(1, np.int64)))  # a source of -1 reads the zero
        return request, np.where(applied.sources >= 0, padded[applied.sources], lengths_before)

    def _applied_actions(self, new: NewActions, last: NDArray[np.int64] | None, bins: PriceBins) -> AppliedActions:
        states, indices = self.states, np.flatnonzero(new.applied)
        actions, slots = new.actions.take(indices), new.slots[indices]
        sources = source_actions(new.slots, new.applied)
        return AppliedActions(
            slots=slots,
            actions=actions,
            contexts=contexts_of(actions, slots, states.last_times[slots], states.sessions[slots], bins),
            ranks=ranks_within(slots),
            sources=sources if last is None else sources[last],
            one_each=last is None and len(indices) == len(new.slots),
        )

    def _vectors(self, serving: Serving, slots: NDArray[np.int64], applied: AppliedActions) -> Tensor:
        """Steps the applied actions; returns the vector (E, D) of each event's user, who is in `slots`, after it.

        A repeat without a source shows the user as they are.
        """
        self._encode_stale(serving, slots)
        missing = applied.sources < 0
        readout = self._readout_vectors(serving, slots[missing]) if missing.any() else None
        vectors = self._step_hidden(serving, applied)
        if readout is not None:
            vectors = torch.cat((vectors, readout))
        return vectors if applied.one_each else vectors[torch.from_numpy(applied.vector_indices())]

    def _encode_stale(self, serving: Serving, slots: NDArray[np.int64]) -> None:
        """Computes the hidden states of users last touched under other weights again, from their sequences."""
        states = self.states
        stale = slots[states.weights_id[slots] != serving.weights_id]
        if not len(stale):
            return
        stale = np.unique(stale)
        states.weights_id[stale] = serving.weights_id
        stale = stale[states.histories.sizes(stale) > 0]  # the others begin at zero
        for chunk in np.split(stale, range(_ENCODED_AT_ONCE, len(stale), _ENCODED_AT_ONCE)) if len(stale) else ():
            item_keys, contexts, sizes = states.histories.gather(chunk)
            steps = int(sizes.max())
            tokens = self._tokens(serving, item_keys[:, :steps], contexts[:, :steps])
            hidden, _ = serving.network(tokens)
            index = torch.from_numpy(sizes).to(serving.device)
            last = hidden[torch.arange(len(chunk), device=serving.device), index - 1]
            states.hidden[torch.from_numpy(chunk).to(serving.device)] = last.half()

    def _tokens(self, serving: Serving, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32]) -> Tokens:
        """The network's input for actions of any shape, whose searches the states know."""
        return serving.vocabulary.tokens(item_keys, contexts, self.states.searches.table).to(serving.device)

    def _readout_vectors(self, serving: Serving, slots: NDArray[np.int64]) -> Tensor:
        """The vectors of users as they are, without a step: from hidden state and last action."""
        item_keys, contexts, _ = self.states.histories.gather(slots, 1)
        tokens = self._tokens(serving, item_keys[:, 0], contexts[:, 0])
        state = self.states.hidden[torch.from_numpy(slots).to(serving.device)].float()
        return serving.network.readout(tokens, state)

    def _step_hidden(self, serving: Serving, applied: AppliedActions) -> Tensor:
        """Takes one step per applied action, a round for each rank; returns the vector after each, (B, D)."""
        slots, ranks = applied.slots, applied.ranks
        tokens = self._tokens(serving, applied.actions.item_keys, applied.contexts)
        users = torch.from_numpy(slots).to(serving.device)
        if not ranks.any():  # no user is there twice, as in most small batches
            return serving.stepper.step(tokens, users, np.array([0, len(slots)]), self.states.hidden)
        order = np.argsort(ranks, kind="stable")
        rows = torch.from_numpy(order).to(serving.device)
        cuts = np.concatenate((np.zeros(1, np.int64), np.bincount(ranks).cumsum()))
        stepped = serving.stepper.step(tokens[rows], users[rows], cuts, self.states.hidden)
        vectors = torch.empty_like(stepped)
        vectors[rows] = stepped
        return vectors
