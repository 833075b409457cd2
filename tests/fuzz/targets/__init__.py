"""The targets by name, each loaded alone, so that a fuzzer watches what it fuzzes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final, Protocol, cast

from tests.paths import ROOT

CORPUS: Final = ROOT / "tests" / "fuzz" / "corpus"  # the committed inputs, a folder for each target

_READERS: Final = (
    "stream_app.kafka.record_reader",
    "stream_app.kafka.compression",
    "aiokafka.record.default_records",
    "aiokafka.record.legacy_records",
    "aiokafka.record.memory_records",
    "aiokafka.record.util",
    "aiokafka.record.control_record",
    "aiokafka.codec",
)
WATCHED: Final[Mapping[str, Sequence[str]]] = {  # the modules of each target whose coverage leads the fuzzer
    "record_batches": _READERS,
    "consumer": (*_READERS, "stream_app.kafka.lenient_consumer", "aiokafka.consumer.fetcher"),
    "events": (
        "stream_app.contract.events",
        "stream_app.contract.event_fields",
        "stream_app.contract.formats.fields",
        "stream_app.contract.formats.ga4",
        "stream_app.contract.formats.own",
        "stream_app.contract.formats.segment",
        "stream_app.contract.formats.shape",
        "stream_app.contract.formats.ubi",
        "stream_app.contract.dead_letters",
        "stream_app.history.rows",
        "model.data.events",
        "model.data.event_time",
    ),
    "predictions": ("stream_app.contract.predictions", "stream_app.cli.watch"),
    "dead_letters": (
        "stream_app.contract.dead_letters",
        "stream_app.dead_letters.listing",
        "stream_app.kafka.encoded_batch",
        "stream_app.kafka.record_reader",
    ),
    "promotions": (
        "stream_app.versions.promotions",
        "stream_app.versions.canary_reports",
        "model.serving.canary",
        "model.versions.version_name",
    ),
    "user_records": ("model.state.user_record", "model.state.sections"),
    "items": ("stream_app.contract.items",),
    "manifests": ("model.versions.manifest", "model.versions.version_name"),
}
NAMES: Final = tuple(WATCHED)


class Target(Protocol):
    """What a module of this package has."""

    TOKENS: Sequence[bytes]

    def check(self, data: bytes) -> None:
        """Reads any bytes; raises when something does not hold that must."""

    def seeds(self) -> list[bytes]:
        """Returns inputs to begin with."""


def load(name: str) -> Target:
    """Returns the target of a name of NAMES, or a module elsewhere by its whole name."""
    return cast(Target, import_module(name if "." in name else f"{__name__}.{name}"))


def inputs(name: str) -> list[bytes]:
    """Returns all inputs of a target that are kept: its seeds and the committed ones."""
    return [*load(name).seeds(), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]
