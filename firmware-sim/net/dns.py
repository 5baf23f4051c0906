"""A name server small enough to lie: ``python -m firmware_sim.net.dns ADDRESS MODE NAME=ADDRESS ...``.

Modes: ``good`` answers A questions for the given names and NXDOMAIN for others; ``wrong`` answers every A question with
the first address; ``failing`` answers SERVFAIL; ``silent`` hears and says nothing. UDP, one question a message
(RFC 1035, 4.1); a name without an IPv6 address is there and empty.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Literal, get_args

PORT = 53
TTL_S = 1  # a mended name is seen soon
QUESTION_MAX = 512
A = 1
OK, SERVFAIL, NXDOMAIN = 0, 2, 3
RESPONSE = 0x8180  # an answer, recursion wanted and available

Mode = Literal["good", "wrong", "failing", "silent"]


def answer(question: bytes, names: Mapping[str, str], mode: Mode) -> bytes | None:
    """The message that answers a message; None: say nothing. Raises ValueError for what is no question."""
    name, end = _name(question)
    if mode == "silent":
        return None
    kind = int.from_bytes(question[end : end + 2], "big")
    address = next(iter(names.values())) if mode == "wrong" else names.get(name)
    code = SERVFAIL if mode == "failing" else OK if address else NXDOMAIN
    records = [address] if address and kind == A and code == OK else []
    header = struct.pack(">HHHHHH", int.from_bytes(question[:2], "big"), RESPONSE | code, 1, len(records), 0, 0)
    body = question[12 : end + 4]
    for record in records:
        body += struct.pack(">HHHIH", 0xC00C, A, 1, TTL_S, 4) + ipaddress.IPv4Address(record).packed
    return header + body


def _name(question: bytes) -> tuple[str, int]:
    """The name asked for, and where it ends."""
    labels, at = [], 12
    while at < len(question) and question[at]:
        length = question[at]
        if length > 63:
            raise ValueError("a question holds no compressed names")
        labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    if at + 5 > len(question):
        raise ValueError("cut short")
    return ".".join(labels), at + 1


def main(address: str, mode: str, *names: str) -> None:
    """Serve until ended."""
    if mode not in get_args(Mode):
        raise SystemExit(f"no mode {mode!r}")
    known = dict(name.split("=", 1) for name in names)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, PORT))
        print("ready", flush=True)
        while True:
            question, asker = server.recvfrom(QUESTION_MAX)
            try:
                said = answer(question, known, mode)  # type: ignore[arg-type]
            except ValueError:
                continue
            if said is not None:
                server.sendto(said, asker)


if __name__ == "__main__":
    main(*sys.argv[1:])
