"""The rows of a context: what the packed fields say, told apart."""

from __future__ import annotations

import numpy as np

from model.data.contexts import CONTEXT_ROWS, CONTEXT_SLICES, context_rows, unpack_contexts

OPTIONAL = {"prices", "categories", "brands"}


def test_a_row_for_each_value_of_each_field() -> None:
    contexts = np.random.default_rng(1).integers(0, 2**32, (50, 40), dtype=np.uint32)
    contexts[0] = 0
    rows, fields = context_rows(contexts), unpack_contexts(contexts)
    assert rows.shape == (50, 40, len(CONTEXT_SLICES))
    for place, (name, part) in enumerate(CONTEXT_SLICES.items()):
        values = getattr(fields, name)
        own = np.arange(CONTEXT_ROWS)[part]
        wanted = own[values]
        if name in OPTIONAL:
            wanted = np.where(values == 0, 0, wanted)
        assert (rows[..., place] == wanted).all(), name


def test_fields_share_no_row_and_none_has_row_0() -> None:
    rows = [row for part in CONTEXT_SLICES.values() for row in range(CONTEXT_ROWS)[part]]
    assert sorted(rows) == list(range(1, CONTEXT_ROWS))
