"""Model versions without training: what they know does not matter to faults and speed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from model.data.price_bins import NO_BINS, PriceBins
from model.data.vocabulary import Vocabulary
from model.fusion.combiner import identity_combiner
from model.fusion.fusion import Fusion
from model.network.calibration import Calibration
from model.network.network import SMALL_WORDS, Network, NetworkConfig, WordRows
from model.profile.profile import NO_PROFILE, Profile
from model.rounds.initial_network import cold_start
from model.statistics.statistics_table import StatisticsTable
from model.versions.manifest import FORMAT
from model.versions.version import VersionContents, save
from stream_app.versions.promotions import Promotion


def untrained_version(
    path: Path,
    items: int,
    *,
    seed: int = 1,
    fusion: Callable[[Vocabulary], Fusion] | None = None,
    word_rows: WordRows = SMALL_WORDS,
    bins: PriceBins = NO_BINS,
    number: int = FORMAT,
    profile: Callable[[Network, Fusion], Profile] | None = None,
) -> Promotion:
    """A version of the default size in the folder `path`, called like it; items are called item-0, item-1, …

    `number` is that of the format.
    """
    vocabulary = Vocabulary([f"item-{number}" for number in range(items)])
    created = "2026-01-01T00:00:00+00:00"
    network = cold_start(NetworkConfig(items=items, word_rows=word_rows), seed=seed)
    fused = (fusion or fusion_without_a_log)(vocabulary)
    contents = VersionContents(
        name=path.name,
        created=created,
        network=network,
        vocabulary=vocabulary,
        calibration=Calibration(),
        fusion=fused,
        metrics={},
        facts={},
        bins=bins,
        profile=NO_PROFILE if profile is None else profile(network.eval(), fused),
    )
    sha256 = save(str(path), contents, number=number)
    return Promotion(version=path.name, manifest_sha256=sha256, promoted_at=datetime.fromisoformat(created), metrics={})


def fusion_without_a_log(vocabulary: Vocabulary) -> Fusion:
    """Nothing is known but the network: it ranks alone."""
    return Fusion(StatisticsTable(), identity_combiner())
