"""What a follower needs of the content of a topic: records go in, a snapshot is written and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

R = TypeVar("R", covariant=True)
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"
Offsets = Mapping[int, int]  # by partition: of the first record that was not applied


class Origin(msgspec.Struct, frozen=True):
    """The topic that some content was read from."""

    cluster: str
    topic: str


class Content(Protocol[R]):
    """What the records of a topic say, and its snapshot on disk; used by one thread."""

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        """Takes the snapshot in; returns where to go on, nothing where it cannot be used.

        `ends` of the topic's partitions; `retention`: for how many seconds Kafka keeps what takes records away.
        """

    def apply(self, records: Sequence[Record]) -> R:
        """Takes records in; of a key the last one counts."""

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        """Writes a snapshot, unless another process has; returns whether there is one that is as new."""
