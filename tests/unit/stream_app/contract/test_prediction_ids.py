"""Ids of predictions: Python's uuid5 is the oracle."""

from __future__ import annotations

import uuid

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.prediction_ids import Sha1Scratch, namespace_of, prediction_id


@given(st.integers(0, 2**32), st.text(max_size=20), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_an_id_is_a_uuid_of_where_the_event_stands(epoch: int, topic: str, partition: int, position: int) -> None:
    scratch = Sha1Scratch(np.full(64, 7, np.uint8), np.full(80, 7, np.uint32))  # with what another id left there
    out = np.zeros(50, np.uint8)
    assert prediction_id(out, 5, namespace_of(epoch, topic), partition, position, scratch) == 41
    namespace = uuid.uuid5(uuid.UUID(int=0), f"nextact/{epoch}/{topic}")
    wanted = str(uuid.uuid5(namespace, f"{partition}/{position}")).encode()
    assert out.tobytes() == bytes(5) + wanted + bytes(9)
