"""Codecs against aiokafka's own use of them, and against bytes that are cut, damaged or far too many."""

from __future__ import annotations

import itertools
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
import numpy as np
import pytest
from aiokafka import codec as aiokafka
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.compression import (
    CODECS,
    DamagedData,
    UnknownCodec,
    UnpacksTooLarge,
    codec_name,
    compress,
    decompress,
)
from stream_app.settings import Compression

NAMES: list[Compression] = ["gzip", "snappy", "lz4", "zstd"]
ENCODE: dict[str, Any] = {name: getattr(aiokafka, f"{name}_encode") for name in NAMES}
DECODE: dict[str, Any] = {name: getattr(aiokafka, f"{name}_decode") for name in NAMES}
MIB = 1024 * 1024
TEXT = b'{"user_id":"ada","type":"view"}' * 5000
DATA = st.builds(lambda data, times: data * times, st.binary(min_size=1, max_size=300), st.integers(1, 2000))


@pytest.mark.parametrize("name", NAMES)
@given(data=DATA)
def test_aiokafka_reads_what_is_written_and_writes_what_is_read(name: Compression, data: bytes) -> None:
    assert DECODE[name](bytes(compress(name, data))) == data
    assert bytes(decompress(CODECS[name], ENCODE[name](data), len(data))) == data
    assert bytes(compress(name, np.frombuffer(data, np.uint8))) == bytes(compress(name, data))


@pytest.mark.parametrize("name", NAMES)
def test_one_byte_more_than_allowed_is_too_large(name: Compression) -> None:
    packed = bytes(compress(name, TEXT))
    assert bytes(decompress(CODECS[name], packed, len(TEXT))) == TEXT
    with pytest.raises(UnpacksTooLarge):
        decompress(CODECS[name], packed, len(TEXT) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_takes_no_memory(name: Compression) -> None:
    """Leans on: cramjam writes nowhere but into the buffer that it is given, as NumPy counts it."""
    bomb = bytes(compress(name, bytes(64 * MIB)))
    limit = 4 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(UnpacksTooLarge):
            decompress(CODECS[name], bomb, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit + MIB


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_damage_is_damage(name: Compression, data: st.DataObject) -> None:
    packed = bytearray(compress(name, TEXT[:3000]))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decompress(CODECS[name], bytes(packed), 10_000)
    except (DamagedData, UnpacksTooLarge):
        return
    # A changed header or literal can still be unpacked; the batch's own checksum says so.


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_cramjam_says_when_its_buffer_is_full(name: str) -> None:
    codec = getattr(cramjam, name)
    with pytest.raises(cramjam.DecompressionError, match="failed to write whole buffer"):
        codec.decompress_into(bytes(codec.compress(bytes(1000))), bytearray(999))


def test_a_bare_snappy_block_is_read() -> None:
    block = bytes(cramjam.snappy.compress_raw(TEXT))
    assert bytes(decompress(CODECS["snappy"], block, len(TEXT))) == TEXT


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82SNAPPY\x00",
        b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00",
        b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01" + struct.pack(">i", -5) + b"abcdef",
        b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01" + struct.pack(">i", 7) + b"abcdef",
    ],
)
def test_blocks_of_snappy_that_cannot_be_are_damage(frame: bytes) -> None:
    with pytest.raises(DamagedData):
        decompress(CODECS["snappy"], frame, 1000)


def test_codecs_have_names_and_unknown_ones_numbers() -> None:
    assert [codec_name(number) for number in range(6)] == ["none", "gzip", "snappy", "lz4", "zstd", "codec 5"]
    with pytest.raises(UnknownCodec, match="number 5"):
        decompress(5, b"abc", 1000)


def test_lz4_blocks_are_not_linked() -> None:
    """Kafka's reader refuses linked blocks: bit 5 of the frame's flags says that they are not (KIP-57)."""
    assert bytes(compress("lz4", TEXT))[4] & 0x20


@pytest.fixture
def no_forced_turns() -> Iterator[None]:
    """Until the test ends a thread gives the interpreter up only where it releases it by itself."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("no_forced_turns")
@pytest.mark.parametrize("name", NAMES)
def test_other_threads_run_while_a_batch_is_compressed(name: Compression) -> None:
    """Leans on: cramjam and zlib release the interpreter."""
    data = np.random.default_rng(1).integers(0, 64, 1_000_000, np.uint8)
    turns, ended = itertools.count(), threading.Event()

    def count() -> None:
        while not ended.is_set():
            next(turns)
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        # On a busy machine the other thread may miss its turn, again and again, but not always.
        assert any(_turns_during(turns, lambda: compress(name, data)) for _ in range(200))
    finally:
        ended.set()
        thread.join()


def _turns_during(turns: Iterator[int], call: Callable[[], Any]) -> int:
    before = next(turns)
    call()
    return next(turns) - before - 1
