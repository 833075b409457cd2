"""Contexts: each field is read alike from an array, from one context and as a row of the table."""

from __future__ import annotations

import numpy as np

from model.data.contexts import (
    CONTEXT_ROWS,
    CONTEXT_SLICES,
    brand_bucket,
    category_bucket,
    context_rows,
    gap_bucket,
    opens_session,
    price_bucket,
    same_item_attributes,
    type_and_boundary,
    type_of,
    types_of,
    unpack_contexts,
)

OPTIONAL = {"prices", "categories", "brands"}


def test_a_row_for_each_value_of_each_field() -> None:
    contexts = np.random.default_rng(1).integers(0, 2**32, (50, 40), dtype=np.uint32)
    contexts[0] = 0
    rows, fields = context_rows(contexts), unpack_contexts(contexts)
    assert rows.shape == (50, 40, len(CONTEXT_SLICES))
    for index, (name, part) in enumerate(CONTEXT_SLICES.items()):
        values = getattr(fields, name)
        own = np.arange(CONTEXT_ROWS)[part]
        wanted = own[values]
        if name in OPTIONAL:
            wanted = np.where(values == 0, 0, wanted)
        assert (rows[..., index] == wanted).all(), name


def test_one_context_reads_as_an_array_of_them() -> None:
    contexts = np.random.default_rng(2).integers(0, 2**32, 200, dtype=np.uint32)
    contexts[:2] = 0, 2**32 - 1
    fields = unpack_contexts(contexts)
    assert types_of(contexts).tolist() == fields.types.tolist() == [type_of(context) for context in contexts]
    assert fields.boundaries.tolist() == [opens_session(context) for context in contexts]
    assert fields.prices.tolist() == [price_bucket(context) for context in contexts]
    assert fields.gaps.tolist() == [gap_bucket(context) for context in contexts]
    assert fields.categories.tolist() == [category_bucket(context) for context in contexts]
    assert fields.brands.tolist() == [brand_bucket(context) for context in contexts]
    both = fields.types + 8 * fields.boundaries
    assert both.tolist() == [type_and_boundary(context) for context in contexts]


def test_items_are_alike_by_category_and_brand_alone() -> None:
    rng = np.random.default_rng(3)
    contexts = rng.integers(0, 2**32, 50, dtype=np.uint32)
    others = contexts ^ rng.integers(0, 2**13, 50, dtype=np.uint32)  # of another type, price, gap …
    assert all(same_item_attributes(context, other) for context, other in zip(contexts, others, strict=True))
    for bit in range(13, 32):
        assert not any(same_item_attributes(context, context ^ np.uint32(1 << bit)) for context in contexts)


def test_fields_share_no_row_and_none_has_row_0() -> None:
    rows = [row for part in CONTEXT_SLICES.values() for row in range(CONTEXT_ROWS)[part]]
    assert sorted(rows) == list(range(1, CONTEXT_ROWS))
