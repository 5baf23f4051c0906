"""Keys of devices: hexadecimal digits in a file of their own, never in the configuration, a log or an error."""

from __future__ import annotations

from pathlib import Path

FILE_BYTES_MAX = 4096


def read_key(path: str, lengths: tuple[int, ...]) -> bytes:
    """The key in a file, of one of these lengths in bytes. Raises ValueError that names the file, never the key."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ValueError(f"key_file {path}: {error.strerror}") from None
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) not in lengths:
        digits = " or ".join(str(2 * length) for length in lengths)
        raise ValueError(f"key_file {path}: expected {digits} hexadecimal digits")
    return key
