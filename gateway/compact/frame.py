"""The outermost layer: a byte of the version, one of the dictionary and of the packing, and the rest stored or packed.

Packed is a Zstandard frame (RFC 8878) without its magic number. Few readings of few devices are as small without, and
then they are stored.
"""

from __future__ import annotations

import threading

import zstandard

from gateway.compact import dictionary
from gateway.compact.errors import CompactError

VERSION = 1
RAW_MAX = 4 << 20
_STORED, _PACKED = 2 * dictionary.NUMBER, 2 * dictionary.NUMBER + 1
_LEVEL = 3
_USUAL_BYTES = 1 << 16  # larger ones only refer less far back, and buffers stay small
_WINDOW_BYTES_MAX = 1 << 23
_MAGIC = b"\x28\xb5\x2f\xfd"


class _Context(threading.local):
    """Packers keep their buffers, and may be used by one thread at a time."""

    def __init__(self) -> None:
        words = zstandard.ZstdCompressionDict(dictionary.content(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL,
            source_size=_USUAL_BYTES,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        words.precompute_compress(compression_params=parameters)
        self.packer = zstandard.ZstdCompressor(compression_params=parameters, dict_data=words)
        self.opener = zstandard.ZstdDecompressor(dict_data=words, max_window_size=_WINDOW_BYTES_MAX)


_context = _Context()


def pack(raw: bytes) -> bytes:
    """A body. Raises OverflowError for more than 4 MiB."""
    if len(raw) > RAW_MAX:
        raise OverflowError(f"a block of {len(raw)} bytes")
    packed = _context.packer.compress(raw)
    return bytes((VERSION, _PACKED)) + packed if len(packed) < len(raw) else bytes((VERSION, _STORED)) + raw


def unpack(body: bytes) -> bytes:
    """What a body holds, 4 MiB at most. Raises CompactError."""
    if len(body) < 3 or body[0] != VERSION or body[1] not in (_STORED, _PACKED):
        raise CompactError(f"a body of version and dictionary {bytes(body[:2]).hex(' ')}")
    if len(body) > RAW_MAX:
        raise CompactError("a body that is too long")
    if body[1] == _STORED:
        return body[2:]
    frame = _MAGIC + body[2:]
    try:
        if zstandard.frame_content_size(frame) > RAW_MAX:
            raise CompactError("a body that is too long")
        return _context.opener.decompress(frame, max_output_size=RAW_MAX, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CompactError(str(error)) from error
