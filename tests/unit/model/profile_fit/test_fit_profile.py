"""What is fitted to a log is a profile that a version can have; names of the version before stay."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from model.data.disk_log import FrequentNames, window_in_memory
from model.data.events import Event, actions_of
from model.profile.fitted_preferences import UNFITTED
from model.profile.profile import NO_PROFILE, Profile
from model.profile_fit.fit_profile import FittedModel, fit_profile
from model.training.fit_run import FitRun
from tests.unit.builders.basics import CPU, make_version


def test_names_of_the_log_come_before_those_of_the_version_before() -> None:
    version = make_version()
    events = [Event("u", "view", "item 1", category="c", price=1.0 + n % 50, currency="EUR") for n in range(200)]
    window = window_in_memory(actions_of(events, [1000 * n for n in range(200)]))
    names = FrequentNames(["new", "both"], ["b"])
    model = FittedModel(
        version.network, version.vocabulary, version.fusion, window.log, window.prices, names, NO_PROFILE
    )
    profile = fit_profile(model, FitRun(CPU, 1))
    profile.check()
    assert profile.preferences is not None
    assert profile.price_bands is not None
    assert profile.preferences.category_names == ["new", "both"]
    assert profile.price_bands.currencies.keys() == {"EUR"}
    before = Profile(preferences=msgspec.structs.replace(UNFITTED, category_names=["both", "old"], brand_names=["a"]))
    again = fit_profile(replace(model, before=before), FitRun(CPU, 1)).preferences
    assert again is not None
    assert (again.category_names, again.brand_names) == (["new", "both", "old"], ["b", "a"])
