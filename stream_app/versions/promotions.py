"""Promotions: records of the compacted models topic that say which version is the champion, the one that serves.

All have one key, so compaction leaves only the newest. Each therefore also names the versions that served before it,
to which a rollback returns.

A record names a version and its manifest's hash, and never says where the version lies: every reader looks it up in its
own registry, so that whoever may write the topic cannot have bytes read from anywhere else. Earlier nextacts read the
fields `path`, which are still written for them, and ignored here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from model.addresses import shown
from model.errors import VersionRefused
from model.versions.version_name import NAME_RULE, is_version_name, quoted
from stream_app.kafka.clients import Role, new_consumer, new_producer
from stream_app.kafka.offsets import ends_of
from stream_app.kafka.refusals import explained
from stream_app.settings import Settings

CHAMPION: Final = b"champion"  # the key of all promotions
FORMAT: Final = 1
_PREDECESSORS: Final = 10  # most predecessors that a promotion names
_UNREADABLE: Final = "?"  # the name of a version whose record cannot be read
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LAST_YEAR: Final = 9000  # of a promotion: the next one is a microsecond later, which must be a time, too
_LONGEST_PROMOTER: Final = 128  # characters


class VersionRef(msgspec.Struct, frozen=True, kw_only=True):
    """A version by its name; `manifest_sha256` stands for all of its bytes, as the manifest has their hashes."""

    version: str
    manifest_sha256: str


class Promotion(VersionRef, frozen=True, kw_only=True):
    """The record that makes a version champion; of several the one with the latest `promoted_at` counts."""

    promoted_at: Annotated[datetime, msgspec.Meta(tz=True)]
    metrics: dict[str, float]
    predecessors: tuple[VersionRef, ...] = ()  # champions before it that were not rolled back, newest first
    promoted_by: str = ""  # a role, and which process or user of it; earlier records do not say
    format: int = FORMAT

    @property
    def version_ref(self) -> VersionRef:
        """The version without the circumstances of its promotion."""
        return VersionRef(version=self.version, manifest_sha256=self.manifest_sha256)

    @property
    def circumstances(self) -> str:
        """Says when it was promoted, and by whom as far as it is known."""
        by = f" by {self.promoted_by}" if self.promoted_by else ""
        return f"{self.promoted_at.isoformat(' ', 'seconds')}{by}"


class _Format(msgspec.Struct, frozen=True):
    """The field that says whether this nextact can read the others; the first records did not have it."""

    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Election:
    """The champion after some records, and the records that were refused with the names of their versions."""

    champion: Promotion | None
    refused: list[tuple[str, VersionRefused]]


def encode_promotion(promotion: Promotion, registry: str) -> bytes:
    """Returns the promotion as JSON in UTF-8.

    Earlier nextacts look for its versions in the `registry` of who promotes. An address with secrets is left out: they
    do not go to Kafka.
    """
    fields = msgspec.to_builtins(promotion)
    for version in (fields, *fields["predecessors"]):
        version["path"] = (
            f"{registry.removesuffix('/')}/{version['version']}" if shown(registry) == registry else version["version"]
        )
    return msgspec.json.encode(fields)


def decode_promotion(value: bytes | None) -> Promotion:
    """Decodes what `encode_promotion` wrote; raises `VersionRefused` (promotion) for anything else, None included.

    Predecessors to which no rollback could return are left out.
    """
    if value is None:
        raise VersionRefused("promotion", "its record was deleted by a tombstone")
    try:
        version = msgspec.json.decode(value, type=_Format).format
        if version > FORMAT:
            raise VersionRefused("promotion", f"its record has format {version}, this nextact reads format {FORMAT}")
        promotion = msgspec.json.decode(value, type=Promotion)
    except (ValueError, RecursionError) as error:  # not the JSON of a promotion, not UTF-8, or nested too deep
        raise VersionRefused("promotion", f"its record cannot be read: {error}") from error
    if fault := _fault(promotion) or _fault_in_time(promotion.promoted_at):
        raise VersionRefused("promotion", f"its record {fault}")
    return msgspec.structs.replace(
        promotion,
        promoted_by=printable(promotion.promoted_by),
        predecessors=tuple(before for before in promotion.predecessors if not _fault(before)),
    )


def printable(text: str) -> str:
    """Returns a promoter's name as it may be printed: without control characters, cut."""
    return "".join(character for character in text if character.isprintable())[:_LONGEST_PROMOTER]


def _fault(version: VersionRef) -> str:
    """Says what is wrong with the name or the hash of a version in a record; empty where nothing is."""
    if not is_version_name(version.version):
        return f"names the version {quoted(version.version)}: {NAME_RULE}"
    if not _SHA256.fullmatch(version.manifest_sha256):
        return f"of {version.version} has {quoted(version.manifest_sha256)} for the SHA-256 of a manifest"
    return ""


def _fault_in_time(promoted_at: datetime) -> str:
    if promoted_at.year <= _LAST_YEAR:
        return ""
    return f"says that it is of the year {promoted_at.year}: no promotion could follow it"


def elect(values: Iterable[bytes | None], champion: Promotion | None = None) -> Election:
    """Finds the champion when these records come after `champion`; a late or damaged one changes nothing."""
    refused: list[tuple[str, VersionRefused]] = []
    for value in values:
        try:
            promotion = decode_promotion(value)
        except VersionRefused as refusal:
            refused.append((_UNREADABLE, refusal))
            continue
        if champion is not None and promotion.promoted_at < champion.promoted_at:
            refused.append((promotion.version, _late_refusal(promotion, champion)))
        else:
            champion = promotion
    return Election(champion, refused)


def promoted_after(
    champion: Promotion | None, version: VersionRef, metrics: dict[str, float], now: datetime, by: str = ""
) -> Promotion:
    """Returns the promotion that makes `version` the champion after `champion`; `by` says who promotes it."""
    before = (champion.version_ref, *champion.predecessors) if champion else ()
    before = tuple(ref for ref in before if ref.version != version.version)
    return _promotion(version, metrics, before, _later_than(champion, now), by)


def rolled_back(champion: Promotion, metrics: dict[str, float], now: datetime, by: str = "") -> Promotion:
    """Returns the promotion that makes the champion's first predecessor champion again; there must be one.

    The champion is not among its predecessors, so that another rollback goes further back.
    """
    version, *before = champion.predecessors
    return _promotion(version, metrics, before, _later_than(champion, now), by)


async def publish_promotion(promotion: Promotion, settings: Settings, role: Role = "operator") -> None:
    """Publishes a promotion and returns when the broker has acknowledged it."""
    value = encode_promotion(promotion, settings.registry_address)
    async with new_producer(settings, role, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(settings.models_topic, value, CHAMPION, partition=0)


class Promotions:
    """Reads the models topic without a consumer group, so that every process sees every promotion."""

    def __init__(self, settings: Settings, role: Role, *beside: str) -> None:
        """`records` also yields those of the topics `beside`."""
        self._settings, self._role = settings, role
        self._partition = TopicPartition(settings.models_topic, 0)
        self._beside = [TopicPartition(topic, 0) for topic in beside]
        self._consumer = new_consumer(settings, role, auto_offset_reset="earliest")

    async def start(self) -> list[bytes | None]:
        """Connects and returns the values of the promotions that are there, oldest first."""
        self._consumer.assign([self._partition, *self._beside])  # first, so that it connects knowing the topics
        end = (await ends_of(self._settings, self._role, [self._partition]))[self._partition]
        await self._consumer.start()
        await self._consumer.seek_to_beginning()
        self._consumer.pause(*self._beside)
        values: list[bytes | None] = []
        while await self._consumer.position(self._partition) < end:
            values += _champion_records(await self._fetch(timeout_ms=500))
        self._consumer.resume(*self._beside)
        return values

    async def follow(self) -> AsyncIterator[list[bytes | None]]:
        """Yields the values of new promotions as they come, those of a fetch together."""
        async for records in self.records():
            if values := _champion_records(records):
                yield values

    async def records(self) -> AsyncIterator[list[Any]]:
        """Yields all new records of the topic, and all of those beside, as they come, those of a fetch together."""
        while True:
            if records := await self._fetch(timeout_ms=60_000):
                yield records

    async def stop(self) -> None:
        """Disconnects."""
        await self._consumer.stop()

    async def _fetch(self, timeout_ms: int) -> list[Any]:
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
        return [record for records in fetched.values() for record in records]


def _champion_records(records: Iterable[Any]) -> list[bytes | None]:
    return [record.value for record in records if record.key == CHAMPION]


async def champion_records(settings: Settings, role: Role = "operator") -> list[bytes | None]:
    """Returns the values of the promotions that are on the topic now, oldest first."""
    promotions = Promotions(settings, role)
    try:
        return await promotions.start()
    except KafkaError as error:
        raise await explained(settings, error, "Read") from error
    finally:
        await promotions.stop()


async def current_champion(settings: Settings, role: Role = "operator") -> Promotion | None:
    """Returns the current champion, None before the first promotion."""
    return elect(await champion_records(settings, role)).champion


def _promotion(
    version: VersionRef, metrics: dict[str, float], predecessors: Sequence[VersionRef], promoted_at: datetime, by: str
) -> Promotion:
    return Promotion(
        version=version.version,
        manifest_sha256=version.manifest_sha256,
        promoted_at=promoted_at,
        metrics=metrics,
        predecessors=tuple(predecessors[:_PREDECESSORS]),
        promoted_by=printable(by),
    )


def _later_than(champion: Promotion | None, now: datetime) -> datetime:
    """Returns now, or a time just after the champion's promotion if the clock of who wrote that is ahead."""
    return now if champion is None else max(now, champion.promoted_at + timedelta(microseconds=1))


def _late_refusal(promotion: Promotion, champion: Promotion) -> VersionRefused:
    return VersionRefused(
        "older",
        f"its promotion of {promotion.promoted_at.isoformat()} came after that of {champion.version} of "
        f"{champion.promoted_at.isoformat()}",
    )
