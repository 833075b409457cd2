"""Small networks, states, events and records for tests; and a user as plain Python, the oracle of the state engine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import get_args

import numpy as np
import torch
from aiokafka import ConsumerRecord
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from model.data.events import EVENT_TYPES, SEARCH, Actions, Event, actions_of
from model.data.sequences import sequences_of
from model.data.vocabulary import Tokens, Vocabulary
from model.fusion.combiner import Combiner, identity_combiner
from model.fusion.fusion import Fusion
from model.network.backbones import BackboneName
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.serving.serving import Serving, serve
from model.state.user_states import RecordLookup, UserStates, nothing_stored
from model.statistics.log_statistics import counter_of
from model.versions.version import Version
from stream_app.contract.records import OutgoingRecord, UnreadableBatch
from stream_app.contract.string_columns import Strings, strings
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch, encode_records
from stream_app.kafka.record_batch import record_batches

HIDDEN = 12  # numbers of a hidden state
LENGTH = 6  # actions of a ring: short, so that they wrap around
WINDOW = 16  # event ids remembered
CPU = torch.device("cpu")
BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)
ITEMS = tuple(f"item {n}" for n in range(70))  # more than one block of the catalogue


def make_version(
    items: Sequence[str] = ITEMS, *, name: str = "v1", seed: int = 0, backbone: BackboneName = "gru"
) -> Version:
    config = NetworkConfig(items=len(items), backbone=backbone, width=16, hidden=HIDDEN, logit_scale=6.0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(config).eval()
    vocabulary = Vocabulary(items)
    return Version(
        name=name,
        created="2026-01-02T03:04:05Z",
        manifest_sha256="f" * 64,
        network=network,
        vocabulary=vocabulary,
        calibration=Calibration(0.5, -1.0),
        fusion=make_fusion(vocabulary),
        metrics={},
        facts={},
    )


@cache
def version() -> Version:
    """The version of most tests. Made when it is used: it calls compiled loops, for which collecting need not wait."""
    return make_version()


@cache
def current() -> Serving:
    """What most tests serve."""
    return serve(version(), CPU)


@cache
def previous() -> Serving:
    """What was served before."""
    return serve(make_version(ITEMS[:50], name="v0", seed=1), CPU)


def make_fusion(vocabulary: Vocabulary) -> Fusion:
    """Item statistics of a few users who went through the items in order; a combiner that uses the network alone."""
    events = [
        Event(user_id=str(n % 3), type="view", item_id=item, category=f"category {n % 4}", brand=f"brand {n % 5}")
        for n, item in enumerate(vocabulary.items)
    ]
    log = sequences_of(actions_of(events, [1000 * n for n in range(len(events))]))
    return Fusion(counter_of(log).table, identity_combiner())


def drawn_combiner(seed: int) -> Combiner:
    """A combiner that weighs at random."""
    torch.manual_seed(seed)
    combiner = Combiner()
    torch.nn.init.normal_(combiner.last.weight)
    return combiner.eval()


class Shelf(dict[tuple[int, str], bytes]):
    """Stored users, by partition and id."""

    def __call__(self, partition: int, users: Sequence[str]) -> dict[str, bytes]:
        return {user: self[partition, user] for user in users if (partition, user) in self}


def make_states(
    device: torch.device = CPU,
    *,
    length: int = LENGTH,
    slots: int = 2,
    most: int = 2**31,
    epoch: int = 1,
    stored: RecordLookup = nothing_stored,
) -> UserStates:
    return UserStates(hidden=HIDDEN, length=length, epoch=epoch, device=device, slots=slots, most=most, stored=stored)


def make_record(
    value: bytes | None, *, key: bytes | None = b"u", offset: int = 0, timestamp: int = 5, partition: int = 0
) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(
        topic="shop.events",
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(("trace", b"abc"),),
    )


@dataclass(frozen=True)
class Logged:
    """An event as it lies in the log."""

    event: Event
    time: int
    offset: int
    partition: int = 3
    line: int = 0  # of the action in its event

    @property
    def owner(self) -> tuple[int, str]:
        return self.partition, self.event.user_id


@st.composite
def logs(draw: st.DrawFn, *, most: int = 30, users: str = "abc") -> list[Logged]:
    """Logs of two partitions: several events per user, repeated event ids, jumps in time, gaps between offsets."""
    time, offset, found = 1_700_000_000_000, draw(st.integers(0, 5)), []
    for _ in range(draw(st.integers(0, most))):
        time += draw(st.sampled_from([-900_000, -5_000, 0, 900, 70_000, 1_800_000, 1_800_001, 90_000_000]))
        found.append(Logged(draw(_events(users)), time, offset, draw(st.sampled_from([3, 3, 3, 4]))))
        offset += draw(st.sampled_from([1, 1, 1, 4]))
    return found


def _events(users: str) -> st.SearchStrategy[Event]:
    common = {
        "user_id": st.sampled_from(users),
        "event_id": st.none() | st.integers(0, 25).map(lambda n: f"e{n}"),
        "session_id": st.sampled_from([None, None, "s1", "s2"]),
    }
    on_items = st.builds(
        Event,
        type=st.sampled_from(["click", "view", "cart", "purchase", "remove"]),
        item_id=st.sampled_from([*ITEMS[:5], "unknown"]),
        price=st.sampled_from([None, 0.0, 3.5, 1e9]),
        category=st.sampled_from([None, "shoes"]),
        brand=st.sampled_from([None, "acme"]),
        **common,
    )
    search = st.builds(Event, type=st.just("search"), query=st.sampled_from(["", "red shoes", "a b c d e f"]), **common)
    return on_items | search


@st.composite
def splits(draw: st.DrawFn, log: list[Logged]) -> list[list[Logged]]:
    """The log in batches, as a worker may see it: now and then the broker goes back some way and repeats."""
    batches, start = [], 0
    while start < len(log):
        end = draw(st.integers(start + 1, len(log)))
        back = draw(st.sampled_from([0, 0, 1, 3, 1000]))
        batches.append(log[max(start - back, 0) : end])
        start = end
    return batches


@dataclass
class Action:
    """An event as the network reads it."""

    type: int
    item: str  # "" for a search
    words: list[int]
    boundary: int
    price: int
    gap: int
    category: int
    brand: int
    object: int

    @property
    def context(self) -> int:
        fields = (self.type, 0), (self.boundary, 3), (self.price, 4), (self.gap, 8)
        return sum(value << shift for value, shift in (*fields, (self.category, 13), (self.brand, 23)))


@dataclass
class UserOracle:
    """One user, one event at a time, as plain Python."""

    sequence: list[Action] = field(default_factory=list)
    offset: int = -1
    last_time: int | None = None
    session: int = 0
    ids: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def take(self, logged: Logged) -> str:
        """Takes an event; returns "replay", "repeat" or "applied"."""
        if logged.offset <= self.offset:
            return "replay"
        self.offset = logged.offset
        event_id = _hash(logged.event.event_id)
        if event_id and event_id in self.ids:
            return "repeat"
        if event_id:
            self.ids.append(event_id)
        self._apply(logged)
        return "applied"

    def _apply(self, logged: Logged) -> None:
        event, session = logged.event, _hash(logged.event.session_id)
        clock = logged.time if self.last_time is None else max(logged.time, self.last_time)
        gap_ms = 0 if self.last_time is None else clock - self.last_time
        changed = session != self.session if session and self.session else gap_ms > 30 * 60_000
        words = _words(event.query or "") if event.type == "search" else []
        action = Action(
            type=EVENT_TYPES.index(event.type),
            item=event.item_id or "",
            words=words,
            boundary=int(changed or self.last_time is None),
            price=0 if event.price is None else min(1 + int(math.log2(1 + event.price)), 15),
            gap=31 if self.last_time is None else min(int(1.25 * math.log2(1 + gap_ms / 1000)), 30),
            category=_bucket(event.category, 1024),
            brand=_bucket(event.brand, 512),
            object=_query_hash(event.query or "") if event.type == "search" else _hash(event.item_id),
        )
        self.sequence.append(action)
        self.last_time = clock
        self.session = session or self.session


def tokens_of(sequence: Sequence[Action], items: Sequence[str]) -> Tokens:
    """A sequence (T,) as the network reads it, shape (1, T)."""
    own = {item: 1024 + n for n, item in enumerate(items)}
    rows = [0 if a.type == 1 else own.get(a.item, _hash(a.item) % 1024) for a in sequence]
    return Tokens(
        items=torch.tensor([rows]),
        searches=torch.tensor([[a.type == 1 for a in sequence]]),
        contexts=torch.tensor([[_context_rows(a) for a in sequence]]),
        words=torch.tensor([[(a.words + [0] * 12)[:12] for a in sequence]]),
    )


def _context_rows(action: Action) -> list[int]:
    """After the row for a missing value: 8 types, 2 boundaries, 32 gaps, 16 prices, 1024 categories, 512 brands."""
    given = [(11 + 32, action.price), (11 + 32 + 16, action.category), (11 + 32 + 16 + 1024, action.brand)]
    return [
        1 + action.type,
        9 + action.boundary,
        11 + action.gap,
        *(first + value if value else 0 for first, value in given),
    ]


def _hash(text: str | None) -> int:
    return xxh3_64_intdigest(text.encode()) if text else 0


def _bucket(text: str | None, buckets: int) -> int:
    return 1 + _hash(text) % (buckets - 1) if text else 0


def _query_hash(query: str) -> int:
    return xxh3_64_intdigest(" ".join(query.split()).encode())


def _words(query: str) -> list[int]:
    return [1 + _hash(word) % 65_520 for word in query.split()[:12]]


def words_of_searches(actions: Actions) -> dict[int, list[int]]:
    """The buckets of the words of all searches among actions, by key; raises KeyError where they are missing."""
    known = dict(zip(actions.queries.keys.tolist(), actions.queries.words.tolist(), strict=True))
    return {key: known[key] for key in actions.item_keys[actions.types == SEARCH].tolist()}


def packed(records: Sequence[OutgoingRecord]) -> list[RecordBatch]:
    """Records with key and value as a worker writes them; with headers, as it writes dead letters."""
    if any(record.headers for record in records):
        return encode_records(records)
    keys, values = [record.key or b"" for record in records], [record.value or b"" for record in records]
    return record_batches(strings(keys), np.arange(len(records)), strings(values), np.arange(len(records)))


def unpacked(batches: Sequence[RecordBatch]) -> list[OutgoingRecord]:
    """The records of batches, as aiokafka reads them."""
    found = []
    for batch in batches:
        data = MemoryRecords(EncodedBatch(batch, time=0.0, transactional=False)._build())
        while (part := data.next_batch()) is not None:
            assert part.validate_crc()
            found += [OutgoingRecord(record.key, record.value, tuple(record.headers)) for record in part]
    return found


def byte_strings(column: Strings) -> list[bytes]:
    """A column, cut into its strings."""
    return [column.text[start:end].tobytes() for start, end in pairwise(column.starts.tolist())]


def unreadable_batch(first: int, last: int, *, partition: int = 0) -> UnreadableBatch:
    """A batch of the events that nobody can read, with these offsets."""
    record = replace(make_record(None, key=None, offset=last, timestamp=-1, partition=partition), headers=())
    return UnreadableBatch(**vars(record), first_offset=first, reason="too_large", message="a bomb")
