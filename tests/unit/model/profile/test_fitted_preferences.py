"""What does not fit together is refused when a version is read."""

from __future__ import annotations

import msgspec
import pytest

from model.profile.fitted_preferences import UNFITTED, FittedPreferences, Readout
from model.profile.price_bands import PriceBands
from model.profile.profile import Profile

LAYER = Readout(classes=[1, 5], weights=[[0.5, 1.0]] * 3, biases=[0.0] * 3)
FITTED = FittedPreferences(
    msgspec.structs.replace(UNFITTED.categories, readout=LAYER), UNFITTED.brands, UNFITTED.prices, ["a"], ["b"]
)


def test_what_fits_together_comes_back_from_json() -> None:
    profile = Profile(preferences=FITTED, price_bands=PriceBands({"": (1, 2, 3, 4)}, {"EUR": {7: (1, 2, 3, 4)}}))
    profile.check()
    again = msgspec.json.decode(msgspec.json.encode(profile), type=Profile)
    again.check()
    assert msgspec.to_builtins(again) == msgspec.to_builtins(profile)
    Profile().check()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"biases": [0.0]}, "3 classes has 3 rows"),
        ({"weights": [[0.5], [0.5], [0.5, 1.0]]}, "of sizes"),
        ({"weights": [[float("nan")] * 2] * 3}, "not finite"),
        ({"classes": [1, 2000]}, "classes that there are not"),
        ({"classes": [-1, 2]}, "classes that there are not"),
    ],
)
def test_a_layer_whose_numbers_do_not_fit_is_refused(change: dict[str, object], complaint: str) -> None:
    layer = msgspec.structs.replace(LAYER, **change)
    with pytest.raises(ValueError, match=complaint):
        Profile(
            preferences=FittedPreferences(
                msgspec.structs.replace(UNFITTED.categories, readout=layer), UNFITTED.brands, UNFITTED.prices
            )
        ).check()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kinds": [1.0]}, "have sizes"),
        ({"mixing": [[0.5, 0.5]] * 5}, "have sizes"),
        ({"kinds": [1.0, -1.0, 1.0]}, "below 0"),
        ({"recency": [float("inf")] * 8}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, object], complaint: str) -> None:
    weights = msgspec.structs.replace(UNFITTED.brands, **change)
    with pytest.raises(ValueError, match=complaint):
        Profile(preferences=FittedPreferences(UNFITTED.categories, weights, UNFITTED.prices)).check()


def test_price_bands_are_classes_from_one_to_five() -> None:
    prices = msgspec.structs.replace(UNFITTED.prices, readout=LAYER)
    msgspec.structs.replace(UNFITTED, prices=prices).check()
    beyond = msgspec.structs.replace(prices, readout=msgspec.structs.replace(LAYER, classes=[1, 6]))
    with pytest.raises(ValueError, match="classes that there are not"):
        msgspec.structs.replace(UNFITTED, prices=beyond).check()


def test_too_many_names_are_refused() -> None:
    names = [str(number) for number in range(65_537)]
    with pytest.raises(ValueError, match="more than 65536 names"):
        Profile(preferences=msgspec.structs.replace(UNFITTED, brand_names=names)).check()
