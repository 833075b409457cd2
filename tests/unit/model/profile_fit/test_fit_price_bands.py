"""Bands of a log: those of currencies follow its bins, those of categories their own prices."""

from __future__ import annotations

from model.data.events import Event, actions_of, text_buckets
from model.data.price_bins import PriceCounts
from model.profile.price_bands import BandTable
from model.profile_fit.fit_price_bands import fit_price_bands


def test_currencies_follow_the_bins_and_categories_have_their_own() -> None:
    events = [Event("u", "view", "i", price=float(n), currency="EUR", category="cheap") for n in range(1, 201)]
    events += [Event("u", "view", "i", price=1000.0 + n, currency="EUR", category="dear") for n in range(200)]
    events += [Event("u", "view", "i", price=5.0, currency="CHF", category="rare"), Event("u", "search", query="q")]
    counts = PriceCounts()
    for begin in range(0, len(events), 150):
        counts.add(actions_of(events[begin : begin + 150], [0] * len(events[begin : begin + 150])))
    bins = counts.bins()
    bands = fit_price_bands(counts, bins)
    bands.check()
    cheap, dear = text_buckets(["cheap", "dear"], 1024).tolist()
    assert bands.currencies.keys() == {"EUR"}
    assert bands.currencies["EUR"] == tuple(bins.edges["EUR"][2::3])
    assert bands.categories["EUR"].keys() == {cheap, dear}
    assert bands.categories["EUR"][cheap] == (41, 81, 121, 161)
    found = BandTable(bands).bands_of(actions_of(events, [0] * len(events)))
    assert abs(found[:200].astype(int) - [1 + (n // 40) for n in range(200)]).max() <= 1
    assert set(found[200:400].tolist()) == {1, 2, 3, 4, 5}
    assert found[400:].tolist() == [0, 0]
