"""Follows the audiences topic without a consumer group, and says whom a change concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import ConsumerRecord

from model.profile.audiences import Audience, Audiences, membership
from model.state.visits import visit_of
from stream_app.contract.signals.audiences import decode_audience
from stream_app.following.content import Offsets, Origin
from stream_app.following.follower import TopicFollower
from stream_app.kafka.clients import Role
from stream_app.settings import Settings

logger: Final = logging.getLogger(__name__)


class KnownAudiences:
    """What the topic says: few records, so that each start reads all of them."""

    def __init__(self) -> None:
        self.current: Audiences = {}  # another object after each change

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        """Begins at the beginning; see `Content`."""
        return {}

    def apply(self, records: Sequence[ConsumerRecord[bytes, bytes]]) -> bool:
        """Takes records in; returns whether they changed anything. One that cannot be read changes nothing."""
        audiences: dict[str, Audience] = dict(self.current)
        for record in records:
            try:
                name, audience = decode_audience(record.key, record.value)
            except ValueError as error:
                logger.error("offset %d of %s is no audience: %s", record.offset, record.topic, error)
                continue
            audiences.pop(name, None)
            if audience is not None:
                audiences[name] = audience
        changed = audiences != self.current
        self.current = {name: audiences[name] for name in sorted(audiences)}
        return changed

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        """Keeps nothing; see `Content`."""
        return True

    def due_in(self, record: bytes, now: int) -> int:
        """Returns when to look at the user of a record (ms; 0: never): now, where they belong to others by now."""
        visit = visit_of(record)
        names, until = membership(self.current, visit, now) if visit.number else ([], 0)
        if names != visit.audiences or (until and not 0 < visit.due <= until):
            return now
        return visit.due


class AudiencesFollower(TopicFollower[bool]):
    """The audiences of this process, kept up to date."""

    def __init__(self, settings: Settings, role: Role, changed: Callable[[Audiences], None]) -> None:
        """`changed` is given all of them, in the event loop, after each change."""
        self.known = KnownAudiences()
        self._changed = changed
        super().__init__(settings, role, settings.audiences_topic, self.known, called="audiences", noted=self._note)

    def _note(self, changed: bool) -> None:
        if changed:
            logger.info("%d audiences: %s", len(self.known.current), ", ".join(self.known.current) or "none")
            self._changed(self.known.current)
