"""What a model learns from and is asked about has one source: the event or, where it is silent, the catalogue.

The same records go through a worker and into a trainer's history.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.data.contexts import unpack_contexts
from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    Actions,
    concatenate,
    currency_name,
    price_buckets,
    text_buckets,
)
from model.data.price_bins import PriceBins
from model.data.sequences import sequences_of
from model.items.catalogue import ItemCatalogue
from model.items.item import Item, Offer
from model.serving.canary import Canary
from model.serving.serving import serve
from model.serving.state_engine import StateEngine
from stream_app.contract.events import decode_batch
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Span, Stream
from stream_app.history.rows import rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, make_record, make_states, make_version

MARKETS = {"CH": Offer(9.0, "CHF"), "PL": Offer()}
SHOE = Item("7", category=("Shoes", "Running"), brand="Roadster", price=90.0, currency="EUR", markets=MARKETS)
# What an event says beside its item, and what is to be known of the item then: category, brand and price.
CASES: list[tuple[dict[str, Any], tuple[str, str, float]]] = [
    ({}, ("Shoes > Running", "Roadster", 90.0)),
    ({"category": "Sale"}, ("Sale", "Roadster", 90.0)),
    ({"brand": "Own", "price": 0}, ("Shoes > Running", "Own", 0.0)),
    ({"market": "CH"}, ("Shoes > Running", "Roadster", 9.0)),
    ({"market": "CH", "price": 30.0}, ("Shoes > Running", "Roadster", 30.0)),
    ({"market": "PL"}, ("Shoes > Running", "Roadster", 90.0)),
    ({"market": "FR"}, ("Shoes > Running", "Roadster", 90.0)),
    ({"price": 31.0, "currency": "PLN"}, ("Shoes > Running", "Roadster", 31.0)),
]


def records(again: int = 0) -> list[Any]:
    events = [{"user_id": "ada", "type": "view", "item_id": "7", **fields} for fields, _ in CASES]
    basket = {"user_id": "ada", "type": "purchase", "market": "CH", "items": [{"item_id": "7"}, {"item_id": "none"}]}
    events += [basket, {"user_id": "ada", "type": "search", "query": "7"}]
    return [
        make_record(json.dumps(event).encode(), key=b"ada", offset=100 * again + n, timestamp=1_700_000_000_000 + n)
        for n, event in enumerate(events)
    ]


@pytest.fixture(scope="module")
def catalogue() -> ItemCatalogue:
    made = ItemCatalogue()
    made.apply([SHOE], [0])
    return made


def served(catalogue: ItemCatalogue) -> Actions:
    """The actions as a worker has them."""
    engine = StateEngine(make_states(), rules_share=1)
    pipeline = Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    pipeline.catalogue = catalogue
    return pipeline.decode(records(), 1).actions


def learned(folder: Path, catalogue: ItemCatalogue) -> Actions:
    """The actions as a round of training has them."""
    with closing(EventHistory(HistoryStorage(str(folder)))) as history:
        rows = rows_of(0, range(len(records())), decode_batch(records()))
        history.append([rows], Stream("", "", 1), {0: Span(0, len(records()))}, written=1_700_000_000_000)
        return concatenate(list(history.chunks(1000, catalogue=catalogue)))


def test_a_worker_and_a_trainer_know_the_same_of_an_item(tmp_path: Path, catalogue: ItemCatalogue) -> None:
    wanted = [*(known for _, known in CASES), CASES[3][1], ("", "", None), ("", "", None)]
    categories, brands, prices = zip(*wanted, strict=True)
    for actions in (served(catalogue), learned(tmp_path, catalogue)):
        assert actions.categories.tolist() == text_buckets(categories, CATEGORY_BUCKETS).tolist()
        assert actions.brands.tolist() == text_buckets(brands, BRAND_BUCKETS).tolist()
        assert actions.prices.tolist() == price_buckets(prices).tolist()


def test_all_that_a_model_reads_is_the_same(tmp_path: Path, catalogue: ItemCatalogue) -> None:
    one, other = served(catalogue), learned(tmp_path, catalogue)
    for name in ("types", "item_keys", "prices", "amounts", "currencies", "categories", "brands", "lines", "sessions"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "amounts"), name
    wanted = ["EUR", "EUR", "", "CHF", "", "EUR", "EUR", "PLN", "CHF", "", ""]
    assert [currency_name(key) for key in one.currencies.tolist()] == wanted


def test_without_a_catalogue_events_speak_for_themselves(tmp_path: Path) -> None:
    for actions in (served(ItemCatalogue()), learned(tmp_path, ItemCatalogue())):
        given = [fields.get("category") for fields, _ in CASES]
        assert actions.categories.tolist() == text_buckets([*given, None, None, None], CATEGORY_BUCKETS).tolist()


BINS = PriceBins({"EUR": [10.0 * n for n in range(1, 15)], "": [0.0] * 14, "CHF": [20.0 + n for n in range(14)]})


def test_what_learned_with_bins_is_served_with_the_same_bins(tmp_path: Path, catalogue: ItemCatalogue) -> None:
    trained = sequences_of(learned(tmp_path, catalogue), BINS)
    before, version = serve(make_version(name="v0"), CPU), serve(replace(make_version(), bins=BINS), CPU)
    engine = StateEngine(make_states(CPU, length=64), rules_share=1)
    pipeline = Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    pipeline.catalogue = catalogue
    engine.serve(version)
    pipeline.step(pipeline.decode(records(), 1))
    assert ring(engine) == trained.contexts.tolist()
    fields = unpack_contexts(trained.contexts).prices.tolist()
    assert fields == [10, 10, 15, 1, 15, 10, 10, 6, 1, 0, 0], "of PLN there are no bins, and today's rule stands"

    # What the ring holds stays as it was written; each event is written as the version reads it that serves it then.
    engine.serve(before)
    pipeline.step(pipeline.decode(records(1), 1))
    today = unpack_contexts(sequences_of(learned(tmp_path / "other", catalogue)).contexts).prices.tolist()
    found = unpack_contexts(np.array(ring(engine), np.uint32)).prices.tolist()
    assert found == fields + today
    engine.serve(version, Canary(before, 1.0))  # with whom everybody stays
    pipeline.step(pipeline.decode(records(2), 1))
    found = unpack_contexts(np.array(ring(engine), np.uint32)).prices.tolist()
    assert found == fields + today + today


def test_before_a_first_version_todays_rule_stands(tmp_path: Path, catalogue: ItemCatalogue) -> None:
    engine = StateEngine(make_states(CPU, length=64), rules_share=1)
    pipeline = Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    pipeline.catalogue = catalogue
    pipeline.step(pipeline.decode(records(), 1))
    assert ring(engine) == sequences_of(learned(tmp_path, catalogue)).contexts.tolist()


def ring(engine: StateEngine) -> list[int]:
    """The contexts of ada's actions, as her state has them."""
    _, contexts, (size,) = engine.states.histories.gather(engine.slots_of([0], ["ada"]))
    return contexts[0, :size].tolist()  # type: ignore[no-any-return]
