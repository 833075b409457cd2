"""`nextact models`: lists the versions in the registry, promotes one, and rolls back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal, TypeVar

import msgspec
import torch

from model.addresses import shown
from model.errors import VersionRefused
from model.evaluation.gate import Difference
from model.rounds.training_report import TrainingReport
from model.serving.serving import serve_files
from model.versions.manifest import LARGEST_REPORT, REPORT, read
from model.versions.registry import ListedVersion, describe, version_names
from model.versions.version import Version
from stream_app.errors import VersionUnusable
from stream_app.kafka.clients import Role
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.own_registry import read_version, version_path
from stream_app.versions.promoter import promoter
from stream_app.versions.promotions import (
    Promotion,
    VersionRef,
    champion_records,
    decode_promotion,
    elect,
    printable,
    promoted_after,
    publish_promotion,
    rolled_back,
)
from stream_app.versions.timeouts import with_timeout

T = TypeVar("T")

State = Literal["serving", "promoted before", "never promoted", "damaged"]
_COLUMNS: Final = (
    *("version", "created", "events", "recall@20", "champion", "rules", "gain", "verdict", "MB", "state", "promoted"),
)


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """One version; what is not known of it is null. All recall@20 are of the same held-out events."""

    version: str
    state: State
    created: str | None
    events: int | None
    recall_at_20: float | None
    champion_recall_at_20: float | None
    rules_recall_at_20: float | None
    recall_gain: tuple[float, float, float] | None  # over the champion's: mean, and the ends of its interval
    verdict: str | None  # the gate's: `better`, or why it was not promoted
    size_bytes: int | None
    path: str
    damage: str | None
    promoted_at: str | None = None  # RFC 3339; the last time, as far as the topic still knows it
    promoted_by: str | None = None


async def list_models(settings: Settings) -> list[ModelLine]:
    """Lists the versions of the registry, oldest first, and the champion also if it is missing there.

    Raises `VersionUnusable` when the registry cannot be read.
    """
    records = await _records(settings)
    champion = elect(records).champion
    versions = await _ask_registry(settings, partial(_described, settings, champion))
    promoted = _promoted(records)
    return [_line(version, champion, promoted) for version in versions]


async def promote(settings: Settings, name: str, now: datetime) -> str:
    """Makes a version of the registry the champion; returns a sentence about it.

    Raises `VersionUnusable` when it is not there or no worker would serve it.
    """
    champion = elect(await _records(settings)).champion
    _path(settings, name)
    if name not in await _ask_registry(settings, partial(version_names, settings.registry_address)):
        raise VersionUnusable(
            f"there is no version {name} in {settings.registry}: `nextact models list` shows all versions"
        )
    version = await _verified(settings, name, None)
    version_ref = VersionRef(version=name, manifest_sha256=version.manifest_sha256)
    by = promoter(settings, "operator")
    await publish_promotion(promoted_after(champion, version_ref, version.metrics, now, by), settings)
    return f"promoted {name}" + (f", after {champion.version}" if champion else "")


async def roll_back(settings: Settings, now: datetime, *, only: str | None = None, role: Role = "operator") -> str:
    """Makes the version that served before the champion the champion again; returns a sentence about it.

    Raises `VersionUnusable` when there is no such version, no worker would serve it, or `only` is given and is not the
    champion.
    """
    champion = elect(await _records(settings, role)).champion
    if only is not None and (champion is None or champion.version != only):
        raise VersionUnusable(f"{only} does not serve any more: nothing was rolled back")
    if champion is None:
        raise VersionUnusable("no version was promoted yet: there is nothing to roll back")
    if not champion.predecessors:
        raise VersionUnusable(
            f"no version is known that served before {champion.version}: `nextact models promote` takes any other"
        )
    before = champion.predecessors[0]
    version = await _verified(settings, before.version, before.manifest_sha256)
    by = promoter(settings, role)
    await publish_promotion(rolled_back(champion, version.metrics, now, by), settings, role)
    return f"went back from {champion.version} to {before.version}"


async def training_report(settings: Settings, version: str) -> TrainingReport:
    """Reads the report on a version's training from the registry. Raises `VersionUnusable` when it has none."""
    path = _path(settings, version)
    content = await _ask_registry(settings, partial(read, path, REPORT, LARGEST_REPORT))
    try:
        return msgspec.json.decode(content, type=TrainingReport)
    except ValueError as error:
        raise VersionUnusable(f"{path}/{REPORT} is not what nextact writes: {error}") from error


def models_table(lines: Sequence[ModelLine]) -> Iterable[str]:
    """Yields lines for a terminal, the column names first."""
    rows = [_COLUMNS, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


async def _records(settings: Settings, role: Role = "operator") -> list[bytes | None]:
    await ensure_topics(settings, role, settings.models_topic, create=False)
    return await champion_records(settings, role)


def _path(settings: Settings, version: str) -> str:
    try:
        return version_path(settings, version)
    except VersionRefused as refusal:
        raise VersionUnusable(f"{refusal}. `nextact models list` shows all versions") from refusal


async def _verified(settings: Settings, name: str, sha256: str | None) -> Version:
    """Loads a version and answers one event with it on the CPU, as every worker will do before it serves it."""
    try:
        files = await read_version(settings, name, sha256)
        version, _ = serve_files(files, hidden=settings.hidden, device=torch.device("cpu"))
    except VersionRefused as refusal:
        raise VersionUnusable(f"{name} is not promoted: {refusal.reason}: {refusal}") from refusal
    return version


async def _ask_registry(settings: Settings, work: Callable[[], T]) -> T:
    """Returns the result of reading in the registry; raises `VersionUnusable` when it cannot be read in time."""
    try:
        return await with_timeout(settings.registry_timeout, work)
    except VersionRefused as refusal:
        raise VersionUnusable(str(refusal)) from refusal
    except TimeoutError as error:
        raise VersionUnusable(
            f"the registry {settings.registry} does not answer within {settings.registry_timeout:g} s "
            "(NEXTACT_REGISTRY_TIMEOUT)"
        ) from error


def _described(settings: Settings, champion: Promotion | None) -> list[ListedVersion]:
    names = version_names(settings.registry_address)
    if champion is not None and champion.version not in names:
        names.append(champion.version)
    return [describe(name, version_path(settings, name)) for name in names]


def _promoted(records: Iterable[bytes | None]) -> dict[str, Promotion | None]:
    """Returns all versions of which the topic still knows that they served, with the last promotion that it has of
    each."""
    promotions: dict[str, Promotion | None] = {}
    for record in records:
        try:
            promotion = decode_promotion(record)
        except VersionRefused:
            continue
        for before in promotion.predecessors:
            promotions.setdefault(before.version, None)
        promotions[promotion.version] = promotion
    return promotions


def _line(version: ListedVersion, champion: Promotion | None, promoted: Mapping[str, Promotion | None]) -> ModelLine:
    events, promotion = version.facts.get("events"), promoted.get(version.name)
    return ModelLine(
        version=version.name,
        state=_state(version, champion, promoted),
        created=version.created or None,
        events=int(events) if isinstance(events, int | float) else None,
        recall_at_20=version.metrics.get("recall@20"),
        champion_recall_at_20=version.metrics.get("champion_recall@20"),
        rules_recall_at_20=version.metrics.get("rules_recall@20"),
        recall_gain=_gain(version.metrics),
        verdict=printable(str(verdict)) if (verdict := version.facts.get("verdict_reason")) else None,
        size_bytes=version.size or None,
        path=shown(version.path),
        damage=version.damage or None,
        promoted_at=promotion.promoted_at.isoformat() if promotion else None,
        promoted_by=(promotion.promoted_by or None) if promotion else None,
    )


def _gain(metrics: Mapping[str, float]) -> tuple[float, float, float] | None:
    mean, low, high = [metrics.get(f"recall@20_gain_{field}") for field in Difference._fields]
    return None if mean is None or low is None or high is None else (mean, low, high)


def _state(version: ListedVersion, champion: Promotion | None, promoted: Collection[str]) -> State:
    if champion is not None and version.name == champion.version:
        return "serving"
    if version.damage:
        return "damaged"
    return "promoted before" if version.name in promoted else "never promoted"


def _cells(line: ModelLine) -> tuple[str, ...]:
    recalls = (line.recall_at_20, line.champion_recall_at_20, line.rules_recall_at_20)
    return (
        line.version,
        _shown(line.created and line.created[:19].replace("T", " ")),
        _shown(line.events, ","),
        *(_shown(recall, ".4f") for recall in recalls),
        "-" if line.recall_gain is None else "{:+.4f} ({:+.4f} to {:+.4f})".format(*line.recall_gain),
        _shown(line.verdict),
        _shown(line.size_bytes and line.size_bytes / 1e6, ".1f"),
        line.state + (f" ({line.damage.partition(':')[0]})" if line.damage else ""),
        _promotion_cell(line),
    )


def _promotion_cell(line: ModelLine) -> str:
    when = line.promoted_at and line.promoted_at[:19].replace("T", " ")
    return _shown(when) + (f" by {line.promoted_by}" if line.promoted_by else "")


def _shown(value: Any, format_spec: str = "") -> str:
    return "-" if value is None else format(value, format_spec)
