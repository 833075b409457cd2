"""Fits all parts of the profiles that a version brings."""

from __future__ import annotations

from dataclasses import dataclass

from model.data.event_log import EventLog
from model.data.vocabulary import Vocabulary
from model.fusion.fusion import Fusion
from model.network.network import Network
from model.profile.profile import Profile
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
    before: Profile  # of the champion: what has a name keeps it


def fit_profile(model: FittedModel, run: FitRun) -> Profile:
    """Returns what the parts of a profile need, each fitted to the log."""
    return Profile(
        scores=fit_scores(model.vocabulary, model.log, seed=run.seed),
        segments=fit_segments(model.vocabulary, model.log, model.before.segments, seed=run.seed),
    )
