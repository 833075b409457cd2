"""Checksums: zlib is the oracle."""

from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.crc32 import TABLES, checksum


@given(st.binary(max_size=100), st.integers(0, 9))
def test_checksums_are_those_of_zlib(data: bytes, start: int) -> None:
    assert checksum(np.frombuffer(bytearray(data), np.uint8)[start:], TABLES) == zlib.crc32(data[start:])
