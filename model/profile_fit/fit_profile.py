"""Fits all parts of the profiles that a version brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.data.disk_log import FrequentNames
from model.data.event_log import EventLog
from model.data.events import CATEGORY_BUCKETS, MOST_NAMES, text_buckets
from model.data.price_bins import PriceCounts
from model.data.vocabulary import Vocabulary
from model.fusion.fusion import Fusion
from model.network.network import Network
from model.profile.profile import Profile
from model.profile_fit.fit_preferences import fit_preferences
from model.profile_fit.fit_price_bands import fit_price_bands
from model.profile_fit.fit_reasons import fit_reasons
from model.profile_fit.fit_scores import fit_scores
from model.profile_fit.fit_segments import fit_segments
from model.training.fit_run import FitRun


@dataclass(frozen=True, slots=True)
class FittedModel:
    """What the parts are fitted for: a model that is about to be published, and the log that it has learned from."""

    network: Network
    vocabulary: Vocabulary
    fusion: Fusion
    log: EventLog
    prices: PriceCounts  # of the log
    names: FrequentNames  # of the log's categories and brands
    before: Profile  # of the champion: what has a name keeps it


def fit_profile(model: FittedModel, run: FitRun) -> Profile:
    """Returns what the parts of a profile need, each fitted to the log."""
    return Profile(
        scores=fit_scores(model.vocabulary, model.log, seed=run.seed),
        segments=fit_segments(
            model.vocabulary,
            model.log,
            model.before.segments,
            seed=run.seed,
            category_name=_by_bucket(model.names.categories).get,
        ),
        price_bands=fit_price_bands(model.prices, model.log.bins),
        preferences=fit_preferences(model.network, model.vocabulary, model.log, run, _names(model)),
        reasons=fit_reasons(model.network, model.vocabulary, model.fusion, model.log, run),
    )


def _by_bucket(names: Sequence[str]) -> dict[int, str]:
    """Returns names by the buckets of their categories: of several in one the first."""
    buckets = text_buckets(names, CATEGORY_BUCKETS).tolist()
    return dict(zip(reversed(buckets), reversed(names), strict=True))


def _names(model: FittedModel) -> FrequentNames:
    """Returns the names of the log, and those of the version before that are not among them: some users know them."""
    before = model.before.preferences
    if before is None:
        return model.names
    known = FrequentNames(before.category_names, before.brand_names)
    categories, brands = (
        list(dict.fromkeys([*new, *old]))[:MOST_NAMES] for new, old in zip(model.names, known, strict=True)
    )
    return FrequentNames(categories, brands)
