"""Kafka's codecs: compresses records for any reader, and unpacks them without ever making more than it is told to.

The formats are those that Kafka's Java client reads and writes: gzip, snappy in the frames of xerial's library (or a
bare block, as librdkafka may write it), LZ4's and Zstandard's own frames. LZ4's blocks must not be linked to each
other, which Kafka's reader refuses (KIP-57).

What this leans on in cramjam, each with a test: `decompress_into` writes no byte outside of its buffer, and says
"failed to write whole buffer" when there is more; it releases the interpreter, as compressing does.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import cramjam
import numpy as np

from stream_app.settings import Compression

CODECS: Final[Mapping[Compression, int]] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}  # Kafka's numbers
CODEC_MASK: Final = 0b111  # bits of a batch's attributes

Buffer: TypeAlias = Any  # bytes, memoryview, array of bytes

# Levels by measurement on batches of predictions: higher ones take several times as long and save a few per cent.
_ZSTD_LEVEL: Final = 1
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 31  # zlib's largest window, with gzip's header

# Magic number; version 1, independent blocks, no checksums; blocks of up to 64 KiB; checksum of the last two bytes. As
# Kafka's Java client writes it (lz4's documentation, "LZ4 Frame Format Description").
_LZ4_HEADER: Final = bytes.fromhex("04224d18604082")
_LZ4_BLOCK: Final = 64 * 1024  # bytes before compression
_LZ4_LENGTH: Final = struct.Struct("<I")
_LZ4_STORED: Final = 1 << 31  # added to the length of a block that is not compressed

_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_VERSIONS: Final = struct.pack(">ii", 1, 1)  # of the format, and the least that can read it
_XERIAL_BLOCK: Final = 32 * 1024  # bytes before compression; xerial's own default
_BLOCK_LENGTH: Final = struct.Struct(">i")

_USUAL_RATIO: Final = 8  # most batches unpack to less than so many times their size
_SMALLEST_BUFFER: Final = 64 * 1024  # bytes
_GROWTH: Final = 4  # of a buffer that was too small
_FULL: Final = "failed to write whole buffer"


class UnknownCodec(Exception):
    """A batch names a codec that Kafka does not have."""


class DamagedData(Exception):
    """Compressed bytes cannot be unpacked."""


class UnpacksTooLarge(Exception):
    """Compressed bytes would unpack to more than is allowed."""


def codec_name(number: int) -> str:
    """Returns the name of a codec, its number if Kafka has none of that number."""
    return next((name for name, known in CODECS.items() if known == number), f"codec {number}")


def compress(compression: Compression, data: Buffer) -> Buffer:
    """Returns the bytes in the format that Kafka's clients have for this codec."""
    return _COMPRESS[compression](data)


def decompress(codec: int, data: Buffer, limit: int) -> Buffer:
    """Unpacks to at most `limit` bytes; `codec` is Kafka's number.

    Raises `UnpacksTooLarge`, `DamagedData`, `UnknownCodec`; allocates no more than `limit` and what the codec itself
    needs.
    """
    if codec == CODECS["none"]:
        return data
    if codec == CODECS["snappy"]:
        return _unpack_snappy(memoryview(data), limit)
    if codec not in _STREAMS:
        raise UnknownCodec(f"Kafka has no codec of number {codec}")
    return _unpack_stream(_STREAMS[codec], data, limit)


def _unpack_stream(decompress_into: Callable[[Any, Any], int], data: Buffer, limit: int) -> Buffer:
    """Unpacks a format that does not always say how much it unpacks to, into larger and larger buffers."""
    size = min(limit, max(_SMALLEST_BUFFER, _USUAL_RATIO * len(data)))
    while True:
        out = np.empty(size, np.uint8)
        try:
            return out.data[: decompress_into(data, out)]
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise DamagedData(str(error)) from None
        del out  # so that never two buffers are there at the same time
        if size == limit:
            raise UnpacksTooLarge
        size = min(limit, _GROWTH * size)


def _unpack_snappy(data: memoryview, limit: int) -> Buffer:
    """Unpacks one snappy block, or several in xerial's frame; each begins with its size."""
    blocks = list(_xerial_blocks(data)) if bytes(data[: len(_XERIAL)]) == _XERIAL else [data]
    try:
        sizes = [cramjam.snappy.decompress_raw_len(block) for block in blocks]
        if sum(sizes) > limit:
            raise UnpacksTooLarge
        view, at = np.empty(sum(sizes), np.uint8).data, 0
        for block, size in zip(blocks, sizes, strict=True):
            if size:
                cramjam.snappy.decompress_raw_into(block, view[at : at + size])
            at += size
    except cramjam.DecompressionError as error:
        raise DamagedData(str(error)) from None
    return view


def _xerial_blocks(data: memoryview) -> Iterator[memoryview]:
    at = len(_XERIAL) + len(_XERIAL_VERSIONS)
    if len(data) < at:
        raise DamagedData("the header of the snappy blocks is cut off")
    while at < len(data):
        if at + _BLOCK_LENGTH.size > len(data):
            raise DamagedData("the last snappy block is cut off")
        (length,) = _BLOCK_LENGTH.unpack_from(data, at)
        at += _BLOCK_LENGTH.size
        if not 0 < length <= len(data) - at:
            raise DamagedData(f"a snappy block claims {length} bytes")
        yield data[at : at + length]
        at += length


def _lz4(data: Buffer) -> Buffer:
    """Makes a frame of blocks that are independent of each other; cramjam's own compressor of frames would hold the
    interpreter all the while."""
    view = memoryview(data)
    parts: list[Buffer] = [_LZ4_HEADER]
    for at in range(0, len(view), _LZ4_BLOCK):
        plain = view[at : at + _LZ4_BLOCK]
        packed = cramjam.lz4.compress_block(plain, store_size=False)
        if len(packed) < len(plain):
            parts += (_LZ4_LENGTH.pack(len(packed)), packed)
        else:
            parts += (_LZ4_LENGTH.pack(len(plain) | _LZ4_STORED), plain)
    return b"".join([*parts, _LZ4_LENGTH.pack(0)])


def _snappy(data: Buffer) -> Buffer:
    view = memoryview(data)
    blocks = [cramjam.snappy.compress_raw(view[at : at + _XERIAL_BLOCK]) for at in range(0, len(view), _XERIAL_BLOCK)]
    framed = [part for block in blocks for part in (_BLOCK_LENGTH.pack(len(block)), block)]
    return b"".join([_XERIAL, _XERIAL_VERSIONS, *framed])


def _gzip(data: Buffer) -> Buffer:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()


def _zstd(data: Buffer) -> Buffer:
    return cramjam.zstd.compress(data, level=_ZSTD_LEVEL)


_COMPRESS: Final[Mapping[Compression, Callable[[Buffer], Buffer]]] = {
    "none": lambda data: data,
    "lz4": _lz4,
    "zstd": _zstd,
    "gzip": _gzip,
    "snappy": _snappy,
}
_STREAMS: Final[Mapping[int, Callable[[Any, Any], int]]] = {
    CODECS["gzip"]: cramjam.gzip.decompress_into,
    CODECS["lz4"]: cramjam.lz4.decompress_into,
    CODECS["zstd"]: cramjam.zstd.decompress_into,
}
