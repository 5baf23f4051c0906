"""What a person hands to ``lamppost decode``: the bytes that it may mean, likeliest first. Pure."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re

_HEX_NOISE = re.compile(rb"0x|[\s:,;-]", re.IGNORECASE)
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
SHORTEST_BASE64 = 8


def candidates(data: bytes) -> list[bytes]:
    """Hexadecimal where it is that, base64 where it can be, and the text itself with both kinds of line end."""
    forms: list[bytes] = []
    bare = _HEX_NOISE.sub(b"", data)
    if _HEX.fullmatch(bare):
        forms.append(bytes.fromhex(bare.decode("ascii")))
    joined = b"".join(data.split())
    if len(joined) >= SHORTEST_BASE64 and len(joined) % 4 == 0 and _BASE64.fullmatch(joined):
        with contextlib.suppress(binascii.Error):
            forms.append(base64.b64decode(joined.replace(b"-", b"+").replace(b"_", b"/"), validate=True))
    forms.append(data)
    text = data.strip(b"\r\n")
    if text:
        lines = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
        forms += [form for form in (text, lines) if form != data]
    return list(dict.fromkeys(forms))


def with_topic(data: bytes, topic: str) -> tuple[bytes, str]:
    """A JSON object {topic, payload} as MQTT tools print it, taken apart; anything else as it is."""
    if topic or not data.lstrip().startswith(b"{"):
        return data, topic
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data, topic
    if not isinstance(document, dict) or not {"topic", "payload"} <= document.keys():
        return data, topic
    payload = document["payload"]
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode(), str(document["topic"])
