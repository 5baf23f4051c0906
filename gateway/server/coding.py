"""Content codings of request bodies (RFC 9110, 8.4): gzip and zstd, bounded against bodies that swell."""

from __future__ import annotations

import zlib

import zstandard

from gateway.server.errors import BadRequestData, TooLarge, UnsupportedMediaType

OFFERED = "zstd, gzip"
WINDOW_BYTES_MAX = 8 * 2**20  # RFC 9659: what a zstd content coding may ask of who decodes it


def decoded(coding: str, body: bytes, limit: int) -> bytes:
    """The body without its coding, at most ``limit`` bytes. Raises UnsupportedMediaType, BadRequestData, TooLarge."""
    if coding == "identity":
        return body
    if coding == "gzip":
        plain = _gunzip(body, limit)
    elif coding == "zstd":
        plain = _unzstd(body, limit)
    else:
        raise UnsupportedMediaType(f"Content-Encoding {coding} is not understood; {OFFERED} are")
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def _gunzip(body: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj(wbits=31)  # gzip framing
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequestData(f"the body is not gzip: {error}") from None
    if len(plain) <= limit and (not decoder.eof or decoder.unused_data):
        raise BadRequestData("the body is not one complete gzip member")
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
    try:
        size = zstandard.frame_content_size(body)  # the decoder refuses a frame that holds more than it says
        if size < 0:  # it does not say: count first
            with decoder.stream_reader(body, read_across_frames=False) as reader:
                size = len(reader.read(limit + 1))
        if size > limit:
            raise _too_large(limit)
        whole = decoder.decompressobj()
        plain: bytes = whole.decompress(body)
    except zstandard.ZstdError as error:
        raise BadRequestData(f"the body is not zstd: {error}") from None
    if not whole.eof or whole.unused_data:
        raise BadRequestData("the body is not one complete zstd frame")
    return plain


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body has more than {limit} bytes when decompressed")
