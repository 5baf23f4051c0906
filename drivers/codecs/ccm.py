"""AES-CCM as Bluetooth sensors use it (NIST SP 800-38C): a tag of 4 bytes, or none that could be checked.

The package ``cryptography`` is imported on the first encrypted advertisement: a box without keys does not pay for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from drivers.codecs.broadcast import Sealed
from drivers.errors import BadFrame

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

TAG_BYTES = 4
KEY_BYTES = 16


def unseal(key: bytes, nonce: bytes, sealed: bytes, associated: bytes = b"") -> bytes:
    """The plain text of ``sealed`` with its tag at the end. Raises Sealed where the key is not the sender's."""
    from cryptography.exceptions import InvalidTag

    if len(sealed) < TAG_BYTES:
        raise BadFrame(f"an encrypted part of {len(sealed)} bytes")
    try:
        return _cipher(_checked(key, KEY_BYTES)).decrypt(nonce, sealed, associated or None)
    except InvalidTag:
        raise Sealed("the bind key is not the one that this sensor encrypts with", keyed=True) from None


def unseal_unchecked(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """The plain text of what carries no tag that proves it. CCM's payload is AES-CTR from block 1 on (6.2)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    flags = 14 - len(nonce)  # q - 1, where the nonce and the q bytes of the block counter make up 15
    first = bytes((flags,)) + nonce + (1).to_bytes(flags + 1, "big")
    decryptor = Cipher(algorithms.AES(_checked(key, KEY_BYTES)), modes.CTR(first)).decryptor()
    return decryptor.update(sealed) + decryptor.finalize()


def need(key: bytes) -> bytes:
    """The key. Raises Sealed where there is none."""
    if not key:
        raise Sealed("this sensor encrypts: it needs its bind key; give its file as `key_file`", keyed=False)
    return key


def _checked(key: bytes, size: int) -> bytes:
    if len(key) != size:
        raise Sealed(f"the bind key has {len(key)} bytes where this sensor's has {size}", keyed=True)
    return key


@lru_cache(maxsize=256)
def _cipher(key: bytes) -> AESCCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    return AESCCM(key, tag_length=TAG_BYTES)
