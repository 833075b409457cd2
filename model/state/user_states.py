"""Every user's state in slots of arrays: last actions, hidden state, last offset, recent event ids.

State belongs to a partition: the same user id on two partitions is two users here. Memory may run ahead of what is
durable, because any failure ends the process. When memory is full, the users seen longest ago leave it, once all that
happened to them is durable; they come back from the store with their next event.
Shapes: S slots, N events of a batch, U distinct slots, H hidden units, E ids of the window, L ring length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.events import NO_TIME, Actions
from model.data.queries import QueryWords
from model.data.user_clocks import begins_group
from model.errors import RecordCorrupt
from model.kernels.compiled import compiled
from model.state.history_rings import Histories, grown
from model.state.log_cuts import CUT_USER, LogCut, cut_of
from model.state.searches import Searches, stored_queries
from model.state.sections import SEARCHES, split_sections
from model.state.slots import Slots
from model.state.user_columns import Sections, UserColumns, in_order_of_tags, no_sections
from model.state.user_record import FIRST_VERSION, RECORD_VERSION, StoredUsers, UserRecords, unpack

EVENT_ID_WINDOW: Final = 16  # last event ids of a user that are remembered
_EVICTED_SHARE: Final = 32  # one slot of so many, at least, is freed at once, as looking for the oldest costs

RecordLookup = Callable[[int, Sequence[str]], dict[str, bytes]]  # partition, user ids -> the records that exist


class DamagedRecord(NamedTuple):
    """A stored record that cannot be read: its user begins anew, and their next record replaces it."""

    partition: int
    user: str  # id
    fault: str  # what is wrong


def nothing_stored(_: int, __: Sequence[str]) -> dict[str, bytes]:
    """Finds no record: for states without a store."""
    return {}


class UserStates:
    """The states of users, in slots that are looked up by partition and user id."""

    def __init__(
        self,
        *,
        hidden: int,
        length: int,
        epoch: int,
        device: torch.device,
        slots: int = 1024,
        most: int = 2**31,
        stored: RecordLookup = nothing_stored,
    ) -> None:
        """Begins with `slots` slots and grows to `most`, or beyond where a batch needs more; `stored` reads records."""
        slots = min(slots, most)
        self.device = device
        self.epoch = epoch
        self.version = RECORD_VERSION  # of the records that snapshots make
        self.histories = Histories(length, slots)
        self.searches = Searches()
        self.offsets: NDArray[np.int64] = np.full(slots, -1, np.int64)  # positions, see `log_cuts`
        self.last_times: NDArray[np.int64] = np.full(slots, NO_TIME, np.int64)
        self.sessions: NDArray[np.uint64] = np.zeros(slots, np.uint64)
        self.event_ids: NDArray[np.uint64] = np.zeros((slots, EVENT_ID_WINDOW), np.uint64)
        self.weights_id: NDArray[np.uint64] = np.zeros(slots, np.uint64)
        # Halves in memory too: what a restart reads back is exactly what the process had.
        self.hidden = torch.zeros(slots, hidden, dtype=torch.float16, device=device)
        self.batch = 0  # the number of the current one
        self.settled = 0  # all batches before this number are durable, so their users may leave memory
        self.evicted = np.zeros(0, np.int64)  # slots that the current batch took from their users
        self.returned = 0  # how many users the current batch brought back from the store
        self.damaged: list[DamagedRecord] = []  # that the current batch found in the store
        self._slots = Slots(slots)
        self.columns: list[UserColumns] = []  # by rising tag
        self._sections: dict[int, dict[int, bytes]] = {}  # by slot and tag, of the few users who have any
        self._cuts: dict[int, LogCut] = {}  # by partition, of those touched since the last `clear`
        self._most = most
        self._stored = stored

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """The number of slots, used or not."""
        return self._slots.capacity

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays, on the host and on the device."""
        arrays = (self.offsets, self.last_times, self.sessions, self.event_ids, self.weights_id)
        kept = sum(column.nbytes for column in self.columns)
        rings = (self.histories.item_keys, self.histories.contexts, self.histories.counts)
        return sum(array.nbytes for array in (*arrays, *rings)) + self.hidden.nbytes + self.searches.table.nbytes + kept

    def keep(self, column: UserColumns) -> None:
        """Keeps a column of users from now on, before there are any."""
        column.grow(self.capacity)
        self.columns = sorted([*self.columns, column], key=lambda each: each.tag)

    def positions(self, partitions: Sequence[int], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the positions of N offsets in the logs of their partitions, (N,); see `log_cuts`.

        A cut that cannot be read is added to `damaged`, and the log counts as never cut.
        """
        touched = set(partitions)
        for partition in touched - self._cuts.keys():
            self._cuts[partition] = self._stored_cut(partition)
        was_cut = [partition for partition in touched if self._cuts[partition].number]
        if not was_cut:
            return offsets
        positions, of = offsets.copy(), np.array(partitions)
        for partition in was_cut:
            here = of == partition
            positions[here] = self._cuts[partition].positions(offsets[here])
        return positions

    def _stored_cut(self, partition: int) -> LogCut:
        try:
            return cut_of(self._stored(partition, [CUT_USER]).get(CUT_USER), self.epoch)
        except RecordCorrupt as error:
            self.damaged.append(DamagedRecord(partition, CUT_USER, str(error)))
            return LogCut()

    def cut(self, partition: int, cut: LogCut) -> None:
        """Notes where the log of a partition was just cut: what is written from there on is new to every user."""
        self._cuts[partition] = cut

    def slots_of(self, partitions: Sequence[int], users: Sequence[str]) -> NDArray[np.int64]:
        """Begins a batch and returns the slot of each of N users on their partitions, (N,).

        A user without a slot gets one, with the state from the store if there is any.
        """
        self.batch += 1
        self.evicted, self.returned, self.damaged = np.zeros(0, np.int64), 0, []
        slots = self._slots.find(partitions, users)
        absent = np.flatnonzero(slots < 0)
        self._slots.touch(slots[slots >= 0], self.batch)
        if len(absent):
            pairs = [(partitions[index], users[index]) for index in absent.tolist()]
            self._bring_in(list(dict.fromkeys(pairs)))
            slots[absent] = self._slots.find([partition for partition, _ in pairs], [user for _, user in pairs])
        return slots

    def _bring_in(self, pairs: Sequence[tuple[int, str]]) -> None:
        """Gives slots to users (partition, id) without one."""
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
        """Frees so many slots: grows up to `most`, then evicts users; where too few may leave, grows beyond `most`."""
        if self.capacity < self._most:
            self._grow(min(max(2 * self.capacity, self.capacity + slots - self._slots.free), self._most))
        missing = slots - self._slots.free
        if missing > 0:
            self.evicted = self._slots.oldest(max(missing, self.capacity // _EVICTED_SHARE), self.settled)
            self._clear(self.evicted)
        if slots > self._slots.free:
            self._grow(self.capacity + slots - self._slots.free)

    def slot(self, partition: int, user: str) -> int | None:
        """Returns the slot of a user; None: the user has none."""
        slot = int(self._slots.find([partition], [user])[0])
        return None if slot < 0 else slot

    def partitions_of(self, slots: NDArray[np.int64]) -> NDArray[np.int32]:
        """Returns the partitions of the users in slots, (N,) each."""
        return self._slots.partitions[slots]

    def section(self, slot: int, tag: int) -> bytes | None:
        """Returns a section of the user in a slot (see `sections`); None: there is none."""
        return self._sections.get(slot, {}).get(tag)

    def set_section(self, slot: int, tag: int, content: bytes | None) -> None:
        """Gives the user in a slot a section in place of the one of this tag, or takes it away (None).

        It is in the user's next record, and written with it.
        """
        sections = self._sections.setdefault(slot, {})
        sections.pop(tag, None)
        if content is not None:
            sections[tag] = content
        if not sections:
            del self._sections[slot]

    def set_sections(self, owners: Sequence[tuple[int, str]], tag: int, contents: Sequence[bytes]) -> None:
        """Gives users (partition, id) a section each in place of the one of this tag; whoever has no slot is left out.

        Called between batches.
        """
        slots = self._slots.find([partition for partition, _ in owners], [user for _, user in owners])
        for slot, content in zip(slots.tolist(), contents, strict=True):
            if slot >= 0:
                self.set_section(slot, tag, content)

    def empty(self, slot: int) -> None:
        """Takes the sequence from the user in a slot: what comes next is their first action. Event ids stay."""
        slots = np.array([slot])
        self.histories.clear(slots)
        for column in self.columns:
            column.clear(slots)
        self.last_times[slot], self.sessions[slot], self.weights_id[slot] = NO_TIME, 0, 0
        self.hidden[slot] = 0

    def clear(self) -> NDArray[np.int64]:
        """Forgets all users and returns the slots that they had."""
        slots = self._slots.taken()
        self._clear(slots)
        self._cuts.clear()
        self.searches = Searches()
        return slots

    def _clear(self, slots: NDArray[np.int64]) -> None:
        self._slots.release(slots)
        self.offsets[slots] = -1
        self.last_times[slots] = NO_TIME
        self.sessions[slots] = 0
        self.event_ids[slots] = 0
        self.weights_id[slots] = 0
        self.histories.clear(slots)
        for column in self.columns:
            column.clear(slots)
        for slot in self._sections.keys() & set(slots.tolist()) if self._sections else ():
            del self._sections[slot]
        self.hidden[torch.from_numpy(slots).to(self.device)] = 0

    def duplicates(
        self, slots: NDArray[np.int64], event_ids: NDArray[np.uint64], lines: NDArray[np.uint16]
    ) -> NDArray[np.bool_]:
        """Tells which actions (N,), in log order, belong to events that repeat one of the last E ids of their user.

        `lines` as in `Actions`.
        """
        repeated = np.empty(len(slots), np.bool_)
        find_repeats(self.event_ids, slots.argsort(kind="stable"), slots, event_ids, lines, repeated)
        return repeated

    def remember(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Takes in times, sessions and event ids of applied actions; rings and hidden states stay as they are."""
        event_ids = actions.event_ids * (actions.lines == 0)  # an event's id once, however many actions it has
        take_in_times(self.last_times, self.sessions, self.event_ids, slots, actions.times, actions.sessions, event_ids)

    def snapshot(self, slots: NDArray[np.int64]) -> UserRecords:
        """Copies all that is stored of slots (U,), for `user_record.pack`: the next batch does not change it."""
        item_keys, contexts, sizes = self.histories.gather(slots)
        sections = None
        if self.version == FIRST_VERSION:
            item_keys = self.searches.first_keys(item_keys, contexts)
        else:
            sections = self.searches.sections(item_keys, contexts, sizes, self._other_sections(slots))
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
            sections=sections,
            version=self.version,
        )

    def _other_sections(self, slots: NDArray[np.int64]) -> Sections:
        """The sections of slots (U,) but for the searches."""
        others = [self._sections.get(slot, {}) for slot in slots.tolist()] if self._sections else []
        columns = [(each.tag, each.sections(slots, self.histories)) for each in self.columns]
        return in_order_of_tags([(0, no_sections(len(slots))), *columns], others)

    def restore(self, partition: int, records: dict[str, bytes]) -> int:
        """Puts stored users of a partition into the slots that they have; returns how many.

        Leaves out records of another stream epoch, and damaged ones, which it adds to `damaged`. Users whose record has
        a hidden state of another size are to be encoded again, as under new weights.
        """
        if not records:
            return 0
        users = list(records)
        stored = unpack(list(records.values()), epoch=self.epoch, hidden=self.hidden.shape[1], ids=EVENT_ID_WINDOW)
        self.damaged += [DamagedRecord(partition, users[index], fault) for index, fault in stored.faults.items()]
        users, rows = [users[index] for index in stored.indices.tolist()], stored.rows
        slots = self._slots.find([partition] * len(users), users)
        self.offsets[slots] = rows["offset"]
        self.last_times[slots] = rows["last_time"]
        self.sessions[slots] = rows["session"]
        self.weights_id[slots] = rows["weights"]
        self.event_ids[slots] = rows["event_ids"]
        self.hidden[torch.from_numpy(slots).to(self.device)] = torch.from_numpy(rows["hidden"].copy()).to(self.device)
        actions = rows["actions"]
        self.histories.restore(slots, actions["object"], actions["context"], rows["actions_size"], rows["count"])
        self._restore_sections(slots, stored)
        return len(users)

    def _restore_sections(self, slots: NDArray[np.int64], stored: StoredUsers) -> None:
        searches, contents = [], [[b""] * len(slots) for _ in self.columns]
        for row, (slot, data) in enumerate(zip(slots.tolist(), stored.sections, strict=True)):
            if data:
                sections = split_sections(data)
                searches.append(sections.pop(SEARCHES, b""))
                for column, of_column in zip(self.columns, contents, strict=True):
                    of_column[row] = sections.pop(column.tag, b"")
                if sections:
                    self._sections[slot] = sections
        self.add_searches(stored_queries(stored, searches))
        for column, of_column in zip(self.columns, contents, strict=True):
            column.restore(slots, of_column, self.histories)

    def add_searches(self, queries: QueryWords) -> None:
        """Takes in the words of searches that are in rings, or about to be."""
        if len(queries):
            self.searches.add(queries, self.histories.rings)

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
        for column in self.columns:
            column.grow(slots)


@compiled
def find_repeats(
    windows: NDArray[np.uint64],
    order: NDArray[np.int64],
    slots: NDArray[np.int64],
    event_ids: NDArray[np.uint64],
    lines: NDArray[np.uint16],
    repeated: NDArray[np.bool_],
) -> None:
    """Fills in `repeated` (N,), user by user: `order` (N,) sorts the actions by slot and then by log."""
    window = np.empty(windows.shape[1], np.uint64)
    for position in range(len(order)):
        n = order[position]
        if begins_group(order, slots, position):
            window[:] = windows[slots[n]]
        repeated[n] = lines[n] > 0 and repeated[order[position - 1]]
        if event_ids[n] != 0 and lines[n] == 0:
            for event_id in window:
                repeated[n] |= event_id == event_ids[n]
            if not repeated[n]:
                _shift_in(window, event_ids[n])


@compiled
def _shift_in(window: NDArray[np.uint64], event_id: np.uint64) -> None:
    """Appends an event id to a window (E,)."""
    last = len(window) - 1
    for position in range(last):
        window[position] = window[position + 1]
    window[last] = event_id


@compiled
def take_in_times(
    last_times: NDArray[np.int64],
    last_sessions: NDArray[np.uint64],
    windows: NDArray[np.uint64],
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    sessions: NDArray[np.uint64],
    event_ids: NDArray[np.uint64],
) -> None:
    """Takes actions (N,) in log order into their users' last times (S,), last sessions (S,) and windows (S, E); a
    session or an event id that is 0 was not given."""
    for n in range(len(slots)):
        slot = slots[n]
        last_times[slot] = times[n]
        if sessions[n] != 0:
            last_sessions[slot] = sessions[n]
        if event_ids[n] != 0:
            _shift_in(windows[slot], event_ids[n])
