"""The CoAP endpoint that sensors push to: POST or PUT to ``/push/NAME``, the body in blocks where it is large.

Every request is answered at once (RFC 7252, 5.2.1: piggybacked), so nothing waits and no task runs. All that a stranger
can make the box keep is bounded: answers that may have to be given again, and bodies whose blocks are still coming.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from drivers.buses.coap_message import (
    ACK,
    CON,
    EMPTY,
    NON,
    POST,
    PUT,
    RST,
    SENML_FORMATS,
    Block,
    Code,
    Message,
    Option,
    block_value,
    encode,
    parse,
    uint,
)
from drivers.errors import BadFrame, DriverError, NoPermission, NoPort

if TYPE_CHECKING:
    from drivers.buses.coap_oscore import Context, Opened

DATAGRAM_BYTES_MAX = 65_535
BURST = 64  # datagrams taken before the loop gets its turn
ANSWERED_MAX = 1024
ANSWERED_S = 247.0  # EXCHANGE_LIFETIME (RFC 7252, 4.8.2)
ASSEMBLIES_MAX = 16
ASSEMBLY_S = 120.0
BUSY_S = 30  # a sensor that must wait tries again after this time
TEXT_CHARACTERS_MAX = 200
PATH = "push"
_IP_PKTINFO = 8  # ip(7); not in the socket module of Python 3.11

Address = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its code, a text for people (diagnostic payload), and options."""

    code: int
    text: str = ""
    options: tuple[tuple[int, bytes], ...] = ()


BUSY = Reply(Code.UNAVAILABLE, "too many values wait here", ((Option.MAX_AGE, uint(BUSY_S)),))


class Receiver(Protocol):
    """The device of a name."""

    def take(self, body: bytes, mono_ns: int) -> Reply:
        """Take a whole body that came at that instant."""


@dataclass(slots=True)
class _Assembly:
    body: bytearray
    until: float


class PushServer:
    """``receivers`` by name may change while it is open; ``contexts``: None where requests come unprotected."""

    def __init__(
        self, receivers: Mapping[str, Receiver], contexts: Mapping[str, Context] | None, body_max: int
    ) -> None:
        self.refused = 0
        self._receivers = receivers
        self._contexts = contexts
        self._body_max = body_max
        self._socket: socket.socket | None = None
        self._any_address = False
        self._answered: OrderedDict[tuple[Address, int], tuple[bytes, float]] = OrderedDict()
        self._assemblies: OrderedDict[tuple[object, ...], _Assembly] = OrderedDict()
        self._mid = secrets.randbits(16)

    @property
    def port(self) -> int:
        """The UDP port that it listens on."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises NoPort or NoPermission."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            family, address = found[0][0], found[0][4]
            self._socket = _bound(family, address)
        except OSError as error:  # a name that is not known is one too
            kind = NoPermission if error.errno in (errno.EACCES, errno.EPERM) else NoPort
            raise kind(f"nothing can listen on {host} port {port}: {error.strerror or error}") from None
        self._any_address = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_unspecified
        if self._any_address:
            # an answer must come from the address that was asked
            v4 = family == socket.AF_INET
            level, option = (socket.IPPROTO_IP, _IP_PKTINFO) if v4 else (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
            self._socket.setsockopt(level, option, 1)
        loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._answered.clear()
        self._assemblies.clear()

    def _readable(self) -> None:
        for _ in range(BURST):
            if self._socket is None:
                return
            try:
                data, ancillary, _flags, sender = self._socket.recvmsg(DATAGRAM_BYTES_MAX, socket.CMSG_SPACE(64))
            except BlockingIOError:
                return
            except OSError:  # of an answer before: nobody was there to take it
                continue
            answer = self._answer(data, sender, time.monotonic_ns())
            if answer is not None:
                try:
                    self._socket.sendmsg([answer], _from_where(ancillary) if self._any_address else (), 0, sender)
                except OSError:  # the sensor asks again
                    continue

    def _answer(self, data: bytes, sender: Address, mono_ns: int) -> bytes | None:
        try:
            message = parse(data)
        except BadFrame:
            self.refused += 1
            return None
        if not message.is_request:
            return encode(Message(RST, EMPTY, message.mid)) if message.type == CON else None  # a ping, or a stranger's
        if message.type not in (CON, NON):
            return None
        key = (sender, message.mid)
        known = self._answered.get(key)
        if known is not None and known[1] > mono_ns / 1e9:
            return known[0] if message.type == CON else None
        answer = self._reply_to(message, sender, mono_ns)
        told = b"" if answer is None else encode(answer)
        self._answered[key] = (told, mono_ns / 1e9 + ANSWERED_S)
        self._answered.move_to_end(key)
        if len(self._answered) > ANSWERED_MAX:
            self._answered.popitem(last=False)
        return told or None

    def _reply_to(self, message: Message, sender: Address, mono_ns: int) -> Message | None:
        def plain(code: int, text: str) -> Message:
            return self._message(message, Reply(code, text))

        if self._contexts is None:
            return self._message(message, self._handle(message, (sender,), None, mono_ns))
        if message.option(Option.OSCORE) is None:
            self.refused += 1
            return plain(Code.UNAUTHORIZED, "OSCORE is needed here")
        from drivers.buses import coap_oscore  # its packages weigh more than this bus

        try:
            opened: Opened = coap_oscore.open_request(self._contexts.values(), message, plain)
            reply = self._handle(opened.message, (sender, opened.context.peer), opened.context.peer, mono_ns)
            return opened.protect(self._message(message, reply))
        except coap_oscore.Denied as denied:
            self.refused += 1
            return denied.reply if message.type == CON else None
        except DriverError:  # no sequence number could be reserved for the answer
            self.refused += 1
            return plain(Code.SERVER_ERROR, "the state of OSCORE cannot be kept")

    def _message(self, request: Message, reply: Reply) -> Message:
        if request.type == CON:
            kind, mid = ACK, request.mid
        else:
            kind, mid = NON, self._mid
            self._mid = self._mid + 1 & 0xFFFF
        payload = reply.text[:TEXT_CHARACTERS_MAX].encode()
        return Message(kind, reply.code, mid, request.token, reply.options, payload)

    def _handle(self, request: Message, who: tuple[object, ...], peer: str | None, mono_ns: int) -> Reply:
        """Take a request; ``peer`` is the name of the sensor whose keys protected it."""
        path = request.path
        name = path[1] if len(path) == 2 and path[0] == PATH else ""
        receiver = self._receivers.get(name)
        content_format = request.number(Option.CONTENT_FORMAT)
        refusal: Reply | None = None
        if request.critical is not None or (request.option(Option.OSCORE) is not None):
            refusal = Reply(Code.BAD_OPTION, f"option {request.critical or int(Option.OSCORE)} is not known here")
        elif peer is not None and peer != name:
            refusal = Reply(Code.FORBIDDEN, f"these keys are for /{PATH}/{peer}")
        elif receiver is None:
            refusal = Reply(Code.NOT_FOUND, f"no device of that name pushes here: POST to /{PATH}/NAME")
        elif request.code not in (POST, PUT):
            refusal = Reply(Code.METHOD_NOT_ALLOWED, "POST or PUT")
        elif content_format is not None and content_format not in SENML_FORMATS:
            refusal = Reply(Code.UNSUPPORTED_FORMAT, "SenML in JSON (110) or CBOR (112)")
        if refusal is not None or receiver is None:
            self.refused += 1
            return refusal or Reply(Code.NOT_FOUND)
        return self._take(request, receiver, (*who, name, request.code), mono_ns)

    def _take(self, request: Message, receiver: Receiver, key: tuple[object, ...], mono_ns: int) -> Reply:
        try:
            block = request.block(Option.BLOCK1)
        except BadFrame as error:
            return Reply(Code.BAD_REQUEST, str(error))
        if block is None:
            if len(request.payload) > self._body_max:
                return self._too_large()
            return receiver.take(request.payload, mono_ns)
        reply = self._add(request, block, key, mono_ns / 1e9)
        if reply is None:
            body = bytes(self._assemblies.pop(key).body)
            reply = receiver.take(body, mono_ns)
        told = replace(block, more=reply.code == Code.CONTINUE)  # an answer that asks for no more blocks is the last
        return replace(reply, options=(*reply.options, (Option.BLOCK1, block_value(told))))

    def _add(self, request: Message, block: Block, key: tuple[object, ...], now: float) -> Reply | None:
        """Put a block to those before it (RFC 7959, 2.5); None when it was the last."""
        if block.number == 0:
            self._assemblies[key] = _Assembly(bytearray(), 0.0)
            self._assemblies.move_to_end(key)
            if len(self._assemblies) > ASSEMBLIES_MAX:
                self._assemblies.popitem(last=False)
        assembly = self._assemblies.get(key)
        late = assembly is not None and block.number > 0 and assembly.until < now
        if assembly is None or late or len(assembly.body) != block.start:
            self._assemblies.pop(key, None)
            return Reply(Code.INCOMPLETE, "blocks before this one are missing")
        full = len(request.payload) == block.size
        if not full and (block.more or len(request.payload) > block.size):
            del self._assemblies[key]
            return Reply(Code.BAD_REQUEST, "a block that is not of its size")
        if max(len(assembly.body) + len(request.payload), request.number(Option.SIZE1) or 0) > self._body_max:
            del self._assemblies[key]
            return self._too_large()
        assembly.body += request.payload
        assembly.until = now + ASSEMBLY_S
        return Reply(Code.CONTINUE) if block.more else None

    def _too_large(self) -> Reply:
        return Reply(Code.TOO_LARGE, f"{self._body_max} bytes are taken", ((Option.SIZE1, uint(self._body_max)),))


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _from_where(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Ancillary data that makes an answer leave with the address that the request came to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _index, local, _destination = struct.unpack("=I4s4s", data)
            return [(level, kind, struct.pack("=I4s4s", 0, local, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return [(level, kind, data)]
    return []
