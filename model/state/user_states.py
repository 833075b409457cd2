"""Every user's state in slots of arrays: sequence, hidden state, last offset, recent event ids.

State belongs to a partition: the same user id on two partitions is two users here. Memory may run ahead of what is
durable, because any failure ends the process. Users who do not fit are those touched longest ago, once all that
happened to them is durable; they come back from the store when they are touched again.
Shapes: S slots, N events of a batch, U distinct slots, H hidden units, E ids of the window, L ring length.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.events import NO_TIME, Actions, event_keys
from model.errors import RecordCorrupt
from model.kernels.compiled import compiled
from model.state.history_rings import Histories, grown
from model.state.slots import Slots
from model.state.user_record import UserRecords, unpack

EVENT_ID_WINDOW: Final = 16
_EVICTED_SHARE: Final = 32  # at least one in so many slots is freed at once: looking for the oldest costs

Stored = Callable[[int, Sequence[str]], dict[str, bytes]]  # partition, users -> records of those who are stored


def nothing_stored(_: int, __: Sequence[str]) -> dict[str, bytes]:
    return {}


class UserStates:
    """Slots for users, found by partition and user id."""

    def __init__(
        self,
        *,
        hidden: int,
        length: int,
        epoch: int,
        device: torch.device,
        slots: int = 1024,
        most: int = 2**31,
        stored: Stored = nothing_stored,
    ) -> None:
        """`slots` to begin with, `most` in the end unless one moment needs more; `stored` is what lies behind them."""
        slots = min(slots, most)
        self.device = device
        self.epoch = epoch
        self.histories = Histories(length, slots)
        self.offsets: NDArray[np.int64] = np.full(slots, -1, np.int64)
        self.last_times: NDArray[np.int64] = np.full(slots, NO_TIME, np.int64)
        self.sessions: NDArray[np.uint64] = np.zeros(slots, np.uint64)
        self.event_ids: NDArray[np.uint64] = np.zeros((slots, EVENT_ID_WINDOW), np.uint64)
        self.weights_id: NDArray[np.uint64] = np.zeros(slots, np.uint64)
        # Halves in memory too: what a restart reads back is exactly what the process had.
        self.hidden = torch.zeros(slots, hidden, dtype=torch.float16, device=device)
        self.batch = 0  # the number of the present one
        self.settled = 0  # the effects of all batches before this one are durable: their users may leave memory
        self.evicted = np.zeros(0, np.int64)  # slots that the present batch took from their users
        self.returned = 0  # users whom the present batch brought back from the store
        self._slots = Slots(slots)
        self._most = most
        self._stored = stored

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """Slots that there are, used or not."""
        return self._slots.capacity

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, on the host and on the device."""
        arrays = (self.offsets, self.last_times, self.sessions, self.event_ids, self.weights_id)
        rings = (self.histories.item_keys, self.histories.contexts, self.histories.counts)
        return sum(array.nbytes for array in (*arrays, *rings)) + self.hidden.nbytes

    def slots_of(self, partitions: Sequence[int], users: Sequence[str]) -> NDArray[np.int64]:
        """Begins a batch: the slot of each of N users on their partitions, (N,).

        Users without one get one, with what is stored of them.
        """
        self.batch += 1
        self.evicted, self.returned = np.zeros(0, np.int64), 0
        found = self._slots.find(partitions, users)
        absent = np.flatnonzero(found < 0)
        self._slots.touch(found[found >= 0], self.batch)
        if len(absent):
            pairs = [(partitions[place], users[place]) for place in absent.tolist()]
            self._bring_in(list(dict.fromkeys(pairs)))
            found[absent] = self._slots.find([partition for partition, _ in pairs], [user for _, user in pairs])
        return found

    def _bring_in(self, pairs: Sequence[tuple[int, str]]) -> None:
        """Gives slots to users (partition, id) who have none."""
        if len(pairs) > self._slots.free:
            self._make_room(len(pairs))
        by_partition: defaultdict[int, list[str]] = defaultdict(list)
        slots = np.array([self._slots.take(*pair) for pair in pairs], np.int64)
        self._slots.touch(slots, self.batch)
        for partition, user in pairs:
            by_partition[partition].append(user)
        for partition, absent in by_partition.items():
            self.returned += self.restore(partition, self._stored(partition, absent))

    def _make_room(self, slots: int) -> None:
        """Has so many slots free. Grows up to the most, then evicts; where too few may leave, grows all the same."""
        if self.capacity < self._most:
            self._grow(min(max(2 * self.capacity, self.capacity + slots - self._slots.free), self._most))
        missing = slots - self._slots.free
        if missing > 0:
            self.evicted = self._slots.oldest(max(missing, self.capacity // _EVICTED_SHARE), self.settled)
            self._clear(self.evicted)
        if slots > self._slots.free:
            self._grow(self.capacity + slots - self._slots.free)

    def slot(self, partition: int, user: str) -> int | None:
        """The slot of a user, or None if the user has none."""
        slot = int(self._slots.find([partition], [user])[0])
        return None if slot < 0 else slot

    def partitions_of(self, slots: NDArray[np.int64]) -> NDArray[np.int32]:
        """The partitions of the users in slots (N,)."""
        return self._slots.partitions[slots]

    def clear(self) -> NDArray[np.int64]:
        """Forgets all users; returns the slots that they had."""
        slots = self._slots.taken()
        self._clear(slots)
        return slots

    def _clear(self, slots: NDArray[np.int64]) -> None:
        self._slots.release(slots)
        self.offsets[slots] = -1
        self.last_times[slots] = NO_TIME
        self.sessions[slots] = 0
        self.event_ids[slots] = 0
        self.weights_id[slots] = 0
        self.histories.clear(slots)
        self.hidden[torch.from_numpy(slots).to(self.device)] = 0

    def duplicates(self, slots: NDArray[np.int64], event_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which events (N,) repeat one of the last E ids that their user sent, in order."""
        given = event_ids != 0
        repeated: NDArray[np.bool_] = given & (self.event_ids[slots] == event_ids[:, None]).any(1)
        # A number for each pair, which is sorted as such; two pairs with the same one are told apart below.
        mixed = event_keys(slots[given].astype(np.uint64), event_ids[given])
        _, places, counts = np.unique(mixed, return_inverse=True, return_counts=True)
        repeated[given] |= counts[places.reshape(-1)] > 1
        if repeated.any():
            self._keep_repeats_within_window(slots, event_ids, repeated)
        return repeated

    def _keep_repeats_within_window(
        self, slots: NDArray[np.int64], event_ids: NDArray[np.uint64], repeated: NDArray[np.bool_]
    ) -> None:
        """Candidates are rare, so their users are gone through event by event, as if each came alone."""
        for slot in np.unique(slots[repeated]).tolist():
            window = deque(filter(None, self.event_ids[slot].tolist()), EVENT_ID_WINDOW)
            for place in np.flatnonzero((slots == slot) & (event_ids != 0)).tolist():
                event_id = int(event_ids[place])
                repeated[place] = event_id in window
                if not repeated[place]:
                    window.append(event_id)

    def remember(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Times, sessions and event ids of applied actions; the sequence and the hidden state are not touched."""
        # Repeated indices keep the last value, the newest.
        self.last_times[slots] = actions.times
        given = actions.sessions != 0
        self.sessions[slots[given]] = actions.sessions[given]
        _shift_in(self.event_ids, slots, actions.event_ids)

    def snapshot(self, slots: NDArray[np.int64]) -> UserRecords:
        """Copies of what is stored of slots (U,), which the next batch does not change; `record.pack` makes bytes."""
        item_keys, contexts, sizes = self.histories.gather(slots)
        return UserRecords(
            epoch=self.epoch,
            offsets=self.offsets[slots],
            counts=self.histories.counts[slots],
            last_times=self.last_times[slots],
            sessions=self.sessions[slots],
            weights_id=self.weights_id[slots],
            hidden=self.hidden[torch.from_numpy(slots).to(self.device)].cpu().numpy(),
            event_ids=self.event_ids[slots],
            item_keys=item_keys,
            contexts=contexts,
            sizes=sizes,
        )

    def restore(self, partition: int, records: dict[str, bytes]) -> int:
        """Puts stored users into the slots that they have. Records of another stream epoch are left out.

        Returns how many were taken in. Raises `RecordCorrupt` with the partition when a record cannot be trusted.
        """
        if not records:
            return 0
        rows = self._unpacked(partition, list(records.values()))
        known = rows["epoch"] == self.epoch
        rows = rows[known]
        users = list(compress(records, known.tolist()))
        slots = self._slots.find([partition] * len(users), users)
        self.offsets[slots] = rows["offset"]
        self.last_times[slots] = rows["last_time"]
        self.sessions[slots] = rows["session"]
        self.weights_id[slots] = rows["weights"]
        self.event_ids[slots] = rows["event_ids"]
        self.hidden[torch.from_numpy(slots).to(self.device)] = torch.from_numpy(rows["hidden"].copy()).to(self.device)
        actions = rows["actions"]
        self.histories.restore(slots, actions["object"], actions["context"], rows["actions_size"], rows["count"])
        return len(users)

    def _unpacked(self, partition: int, records: Sequence[bytes]) -> NDArray[np.void]:
        try:
            return unpack(records, self.hidden.shape[1], EVENT_ID_WINDOW)
        except RecordCorrupt as error:
            raise RecordCorrupt(f"partition {partition} of the state: {error}") from error

    def _grow(self, slots: int) -> None:
        before = self.capacity
        self.histories.grow(slots)
        self.offsets = np.concatenate((self.offsets, np.full(slots - before, -1, np.int64)))
        self.last_times = np.concatenate((self.last_times, np.full(slots - before, NO_TIME, np.int64)))
        self.sessions = grown(self.sessions, slots)
        self.event_ids = grown(self.event_ids, slots)
        self.weights_id = grown(self.weights_id, slots)
        with torch.inference_mode(False):  # a tensor made in inference mode could not be written to outside of it
            self.hidden = torch.cat((self.hidden, self.hidden.new_zeros(slots - before, self.hidden.shape[1])))
        self._slots.grow(slots)


@compiled
def _shift_in(windows: NDArray[np.uint64], slots: NDArray[np.int64], event_ids: NDArray[np.uint64]) -> None:
    """Puts the ids that were given (N,), in log order, behind the others in the windows of their users."""
    last = windows.shape[1] - 1
    for n in range(len(slots)):
        if event_ids[n] != 0:
            window = windows[slots[n]]
            for place in range(last):
                window[place] = window[place + 1]
            window[last] = event_ids[n]
