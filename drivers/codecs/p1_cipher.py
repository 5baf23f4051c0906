"""Encrypted P1 telegrams: Luxembourg (Smarty), and the same frame with other keys in parts of Austria.

Source: *E-Meter P1 specification* 1.1.3 of Luxmetering, 3.2.5: a general-glo-ciphering of DLMS (green book, 9.2.7)
around a plain telegram: 0xDB, the length and 8 bytes of system title, 0x82 and two bytes of length, the security byte
0x30, four bytes of frame counter, the ciphertext, 12 bytes of tag. AES-128-GCM; the initialisation vector is system
title and frame counter, the additional data are the security byte and the authentication key.
"""

from __future__ import annotations

import re
from datetime import tzinfo

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from drivers.codecs import p1
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded, take_headed
from drivers.errors import BadFrame

_PLAIN = re.compile(rb"\d-0:1\.8\.\d\(")
HEAD, TAG = 18, 12  # up to the ciphertext; behind it
KEY_LENGTHS = (16, 32)
# the authentication key that all meters of Luxembourg share: clause 3.2.5
_LUXEMBOURG = bytes.fromhex("00112233445566778899AABBCCDDEEFF")


def take(buffer: bytearray, *, key: bytes, zone: tzinfo | None = None) -> Decoded | None:
    """Cut the next telegram out of the buffer, decipher and decode it; see ``framing.Take``. Raises BadFrame."""
    if (plain := _PLAIN.search(buffer)) is not None:
        del buffer[: plain.end()]
        raise BadFrame("the telegram is not encrypted: take the `key_file` out of the configuration")
    return take_headed(
        buffer, p1.CIPHERED_BEGIN, _size, lambda frame: p1.decode(deciphered(frame, key), crc=True, zone=zone)
    )


def _size(buffer: bytearray) -> int | None:
    if len(buffer) < HEAD:
        return None
    size = 13 + int.from_bytes(buffer[11:13], "big")
    return size if buffer[10] == 0x82 and HEAD + TAG < size <= BUFFER_BYTES_MAX else 0


def deciphered(frame: bytes, key: bytes) -> bytes:
    """The plain telegram. ``key``: 16 bytes, or 32 where an own authentication key follows. Raises BadFrame."""
    if len(key) not in KEY_LENGTHS:
        raise BadFrame("the key of an encrypted meter has 16 bytes, or 32 with its authentication key")
    if _size(bytearray(frame)) in (0, None) or frame[13] != 0x30:
        raise BadFrame("not an encrypted telegram")
    end = 13 + int.from_bytes(frame[11:13], "big")
    if len(frame) < end:
        raise BadFrame("an encrypted telegram that is cut off")
    vector = frame[2:10] + frame[14:HEAD]
    mode = modes.GCM(vector, frame[end - TAG : end], min_tag_length=TAG)
    opened = Cipher(algorithms.AES(key[:16]), mode).decryptor()
    opened.authenticate_additional_data(frame[13:14] + (key[16:] or _LUXEMBOURG))
    try:
        return opened.update(frame[HEAD : end - TAG]) + opened.finalize()
    except InvalidTag:
        raise BadFrame("the telegram does not open with this key, or is damaged") from None
