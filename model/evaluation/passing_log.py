"""One pass over a log in the order of time: each target is ranked by what was known before it, and then it is learned.

The model that is judged, the one that serves and the rules pass together, by the same statistics.
Shapes: N targets, K items of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.covisits import COVISIT_WINDOW
from model.data.events import SEARCH
from model.evaluation.baselines import latest_items
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets, ranks_in_lists
from model.serving.rules import NO_TYPE, Rules
from model.statistics.counted_events import CountedEvents, events_of_sequences
from model.statistics.counter import StatisticsCounter

_AT_ONCE: Final = 64  # events of a batch, at most; never two of one user


class PassingRanker(Protocol):
    """Ranks the targets of a holdout, some at a time, as they come by."""

    def rank_some(self, targets: NDArray[np.int64]) -> RankedTargets:
        """Ranks some of the targets (indices into the holdout) by what is known now."""

    def learn(self, positions: NDArray[np.int64]) -> None:
        """Learns the actions at some positions of the holdout's sequences."""


class PassingFusion:
    """A fusion whose statistics somebody else keeps up to date."""

    def __init__(self, ranker: FusionRanker, holdout: Holdout) -> None:
        self._ranker, self._inputs = ranker, ranker.inputs_of(holdout)

    def rank_some(self, targets: NDArray[np.int64]) -> RankedTargets:
        """See `PassingRanker`."""
        return self._ranker.rank_some(self._inputs.select(targets))

    def learn(self, positions: NDArray[np.int64]) -> None:
        """Does nothing: the counter of the pass does."""


class PassingRules:
    """Rules that learn as the log passes, from everybody."""

    def __init__(self, rules: Rules, holdout: Holdout) -> None:
        self._rules, self._holdout = rules, holdout

    def rank_some(self, targets: NDArray[np.int64]) -> RankedTargets:
        """See `PassingRanker`."""
        holdout = Holdout(self._holdout.sequences, self._holdout.positions[targets])
        top = np.zeros((len(holdout), LIST_SIZE), np.uint64)
        for n, recent in enumerate(latest_items(holdout, 2 * LIST_SIZE).tolist()):
            ranked = self._rules.rank([item for item in recent if item], LIST_SIZE)
            top[n, : len(ranked)] = ranked
        return ranks_in_lists(top, holdout.item_keys)

    def learn(self, positions: NDArray[np.int64]) -> None:
        """See `PassingRanker`."""
        sequences = self._holdout.sequences
        starts = sequences.offsets[sequences.users_at(positions)]
        types = sequences.types
        for position, start in zip(positions.tolist(), starts.tolist(), strict=True):
            first = types[position]
            if not sequences.continues[position]:
                before = NO_TYPE if position == start else int(types[position - 1])
                self._rules.learn_type(before, int(first))
            if first != SEARCH:
                earlier = slice(max(start, position - 4 * COVISIT_WINDOW), position)
                items = sequences.item_keys[earlier][types[earlier] != SEARCH]
                self._rules.learn(items[::-1][:COVISIT_WINDOW].tolist(), int(sequences.item_keys[position]), "")


def rank_in_time(
    rankers: Mapping[str, PassingRanker], holdout: Holdout, counter: StatisticsCounter, since: int
) -> dict[str, RankedTargets]:
    """Ranks all targets of a holdout by several rankers, while these and the counter learn the actions of the holdout's
    sequences from `since` (ms) on."""
    n = len(holdout)
    found = {name: RankedTargets(np.full(n, MISSED), np.zeros((n, LIST_SIZE), np.uint64)) for name in rankers}
    for targets, positions in _batches_in_time(holdout, counter, since):
        for name, ranker in rankers.items():
            if len(targets):
                ranked = ranker.rank_some(targets)
                found[name].ranks[targets], found[name].top[targets] = ranked.ranks, ranked.top
            ranker.learn(positions)
    return found


def batches_in_time(holdout: Holdout, counter: StatisticsCounter, since: int) -> Iterator[NDArray[np.int64]]:
    """Yields the targets (indices into the holdout) of one batch of events after the other, in the order of time;
    after each of them the counter learns its batch."""
    for targets, _ in _batches_in_time(holdout, counter, since):
        if len(targets):
            yield targets


def _batches_in_time(
    holdout: Holdout, counter: StatisticsCounter, since: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields the targets of each batch, and the positions of its actions in the sequences."""
    events, order = events_of_sequences(holdout.sequences)
    start = int(np.searchsorted(events.times, since))
    events, order = events.select(slice(start, None)), order[start:]
    numbers = np.full(len(holdout.sequences), -1)
    numbers[holdout.positions] = np.arange(len(holdout))
    for begin, end in _batches(events):
        of_batch = numbers[order[begin:end]]
        yield of_batch[of_batch >= 0], order[begin:end]
        counter.learn_events(events.select(slice(begin, end)))


def _batches(events: CountedEvents) -> Iterator[tuple[int, int]]:
    """Yields where batches of events begin and end: at a user's second action, or when there are enough."""
    users, begin, seen = events.users.tolist(), 0, set[int]()
    for at, user in enumerate(users):
        if user in seen or at - begin == _AT_ONCE:
            yield begin, at
            begin = at
            seen.clear()
        seen.add(user)
    if begin < len(users):
        yield begin, len(users)
