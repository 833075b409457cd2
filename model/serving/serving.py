"""A model version made ready to answer: on its device, with the catalogue of its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data import price_bins
from model.data.events import stable_hash
from model.data.price_bins import PriceBins
from model.data.recent import RecentActions
from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused, one_line
from model.network.calibration import Calibration
from model.network.network import Network
from model.profile.fitted_preferences import UNFITTED
from model.profile.preference_shares import PreferenceModel
from model.profile.price_bands import NO_BANDS, BandTable
from model.profile.profile import Profile
from model.profile.rhythm import RHYTHM
from model.profile.scores import ScoreHeads
from model.profile.segments import SegmentModel
from model.search.catalogue import Catalogue
from model.serving.answers import RANKED, Answers
from model.serving.heads import Heads
from model.serving.recurrent_step import Stepper, stepper_of
from model.serving.served_ranking import NetworkAlone, NetworkAndLog, RankedBy, ServedRanking
from model.state.history_rings import Scalar
from model.statistics.statistics_table import StatisticsTable
from model.versions.manifest import VersionFiles
from model.versions.version import Version, parse


@dataclass(frozen=True, slots=True)
class Serving:
    """All that answering needs of one version; made once, never changed."""

    name: str
    weights_id: int  # 64 bits that tell hidden states of this version from those of others; never 0
    network: Network
    stepper: Stepper
    heads: Heads
    vocabulary: Vocabulary
    bins: PriceBins
    ranking: ServedRanking
    calibration: Calibration  # of the purchase logit
    device: torch.device
    preferences: PreferenceModel
    segments: SegmentModel | None = None  # None: the version knows no groups of users
    scores: ScoreHeads | None = None  # None: the version foresees nothing of its users beside their actions

    @property
    def names(self) -> Sequence[str]:
        """The ids of the items by number."""
        return self.ranking.names

    def follow(self, statistics: StatisticsTable | None) -> None:
        """Answers by these live statistics from now on; None: by those of the version. The thread that answers calls
        it."""
        self.heads.take_items(self.ranking.follow(statistics), self.ranking.vectors)

    def answer(self, vectors: Tensor, recent: RecentActions, explained: int = 0) -> Answers:
        """Answers M events from their users' vectors (M, D) and last actions, with reasons for the first items."""
        queries, reasons = self.network.queries(vectors), None
        if explained:
            (items, log_probabilities), reasons = self.ranking.rank_and_explain(recent, queries, RANKED, explained)
        else:
            items, log_probabilities = self.ranking.rank(recent, queries, RANKED)
        heads = self.heads.answer(vectors.cpu().numpy(), recent, items)
        return Answers(
            version=self.name,
            names=self.ranking.names,
            items=_padded(items, -1),
            probabilities=_padded(np.exp(log_probabilities), 0),
            next_type=heads.next_type,
            type_given_item=_padded(heads.type_given_item, 0),
            purchase=heads.purchase,
            reasons=reasons,
        )

    def score(
        self, vectors: Tensor, recent: RecentActions, item_keys: Sequence[NDArray[np.uint64]]
    ) -> list[NDArray[np.float32]]:
        """Returns the probabilities (G,) of items given for each of M users, by their distinct keys (G,).

        They are those of an answer for the items that it ranks; NaN for an item of which nothing is known.
        """
        scored = self.ranking.score(recent, self.network.queries(vectors), item_keys)
        return [np.exp(log_probabilities) for log_probabilities in scored]


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """What a version is asked to answer: M events, by what their users are after them."""

    serving: Serving
    vectors: Tensor  # (M, D) of the users
    recent: RecentActions

    def answer(self, explained: int = 0) -> Answers:
        """The version's answers, M of them, with reasons for the first items."""
        return self.serving.answer(self.vectors, self.recent, explained)

    def score(self, item_keys: Sequence[NDArray[np.uint64]]) -> list[NDArray[np.float32]]:
        """The version's scores of items given for each of M users: see `Serving.score`."""
        return self.serving.score(self.vectors, self.recent, item_keys)


def serve_files(
    files: VersionFiles,
    *,
    hidden: int,
    device: torch.device,
    ranked_by: RankedBy = "network-and-log",
    threads: int = 1,
) -> tuple[Version, Serving]:
    """Loads the version in the files and warms it up on a device. Raises `VersionRefused`.

    `hidden` is how many numbers the workers' hidden states have.
    """
    try:
        version = parse(files)
        _check_state(version, hidden)
        return version, serve(version, device, ranked_by, threads)
    except VersionRefused:
        raise
    except Exception as error:  # no room on the device, or whatever else keeps it from answering
        raise VersionRefused("warm_up", f"{files.path} does not answer on {device}: {one_line(error)}") from error


@torch.inference_mode()
def serve(version: Version, device: torch.device, ranked_by: RankedBy = "network-and-log", threads: int = 1) -> Serving:
    """Puts a loaded version on a device and answers once there: the first batch finds it warm, its loops compiled.

    `threads` rank items at the same time.
    """
    network = version.network.to(device).eval()
    vectors = network.item_vectors()
    ranking: ServedRanking
    on_cpu = vectors.cpu().contiguous().numpy()
    ranking = alone = NetworkAlone(Catalogue(vectors), version.vocabulary, on_cpu, threads)
    if ranked_by == "network-and-log":
        attributes = network.contexts.weight.detach().cpu().contiguous().numpy()
        ranking = NetworkAndLog(alone, version.vocabulary, attributes, version.fusion, version.profile.reasons)
    serving = Serving(
        name=version.name,
        weights_id=stable_hash(version.name + version.manifest_sha256) or 1,
        network=network,
        stepper=stepper_of(network, device),
        heads=Heads(network, vectors, version.calibration),
        vocabulary=version.vocabulary,
        bins=version.bins,
        ranking=ranking,
        calibration=version.calibration,
        device=device,
        segments=None if version.profile.segments is None else SegmentModel(version.profile.segments),
        scores=None if version.profile.scores is None else ScoreHeads(version.profile.scores),
        preferences=_preferences(version.profile),
    )
    _warm_up(serving)
    return serving


def _preferences(profile: Profile) -> PreferenceModel:
    bands = NO_BANDS if profile.price_bands is None else BandTable(profile.price_bands)
    return PreferenceModel(profile.preferences or UNFITTED, bands)


def _check_state(version: Version, hidden: int) -> None:
    network = version.network
    state_size = network.backbone.state_size
    if state_size != hidden:
        raise VersionRefused(
            "shape",
            f"{version.name} has hidden states of {state_size} numbers, the workers keep {hidden} (NEXTACT_HIDDEN)",
        )


def _warm_up(serving: Serving) -> None:
    item_keys, contexts = np.zeros(1, np.uint64), np.zeros(1, np.uint32)
    tokens = serving.vocabulary.tokens(item_keys, contexts).to(serving.device)
    nobody, hidden = torch.zeros(1, dtype=torch.int64), serving.network.initial_state(1).half()
    vectors = serving.stepper.step(tokens, nobody.to(serving.device), np.array([0, 1]), hidden)
    nobody_yet = np.zeros(1, np.int64)
    nothing = RecentActions(np.zeros(0, np.int32), contexts[:0], nobody_yet, nobody_yet, item_keys[:0])
    serving.answer(vectors, nothing)
    if serving.scores is not None:
        serving.scores.answer(nothing, np.zeros(1, RHYTHM), nobody_yet)
    price_bins.warm_up()


def _padded(columns: NDArray[Scalar], fill: int) -> NDArray[Scalar]:
    """Columns about k ranked items (N, k, …), padded to RANKED items: a small catalogue has fewer."""
    if columns.shape[1] == RANKED:
        return columns
    padded = np.full((columns.shape[0], RANKED, *columns.shape[2:]), fill, columns.dtype)
    padded[:, : columns.shape[1]] = columns
    return padded
