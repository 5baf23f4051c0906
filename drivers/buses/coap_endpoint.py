"""A CoAP endpoint that is asked: OSCORE where there are keys (RFC 8613), bodies in blocks (RFC 7959).

A request is answered in its acknowledgement (RFC 7252, 5.2.1), at once or when what it asked for is done; until then
its copies are passed over. All that a stranger can make the box keep is bounded: answers that may have to be given
again, bodies whose blocks are still coming, and requests in work.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import secrets
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from drivers.buses.coap_message import (
    ACK,
    BLOCK_EXPONENT_MAX,
    CON,
    EMPTY,
    GET,
    NON,
    RST,
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
    from drivers.buses.coap_oscore import Context

DATAGRAM_BYTES_MAX = 65_535
BURST = 64  # datagrams taken before the loop gets its turn
ANSWERED_MAX = 1024
ANSWERED_S = 247.0  # EXCHANGE_LIFETIME (RFC 7252, 4.8.2)
ASSEMBLIES_MAX = 16
ASSEMBLY_S = 120.0
IN_WORK_MAX = 64  # requests that are not answered yet
BUSY_S = 30  # who must wait tries again after this time
TEXT_CHARACTERS_MAX = 200
_IP_PKTINFO = 8  # ip(7); not in the socket module of Python 3.11

Address = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its code, a text for people (diagnostic payload) or a body, and options."""

    code: int
    text: str = ""
    options: tuple[tuple[int, bytes], ...] = ()
    body: bytes = b""


BUSY = Reply(Code.UNAVAILABLE, "too much waits here", ((Option.MAX_AGE, uint(BUSY_S)),))

Take = Callable[[bytes, int], Reply | Awaitable[Reply]]
"""What takes a whole body that came at a monotonic instant."""


@dataclass(slots=True)
class _Assembly:
    body: bytearray
    until: float


class Endpoint(ABC):
    """``contexts`` by peer: None where requests come unprotected. ``group``: where answers that take time are made."""

    def __init__(self, contexts: Mapping[str, Context] | None, body_max: int) -> None:
        self.refused = 0
        self.group: asyncio.TaskGroup | None = None
        self._contexts = contexts
        self._body_max = body_max
        self._socket: socket.socket | None = None
        self._any_address = False
        self._answered: OrderedDict[tuple[Address, int], tuple[bytes, float]] = OrderedDict()
        self._assemblies: OrderedDict[tuple[object, ...], _Assembly] = OrderedDict()
        self._in_work = 0
        self._mid = secrets.randbits(16)

    @abstractmethod
    def resource(self, request: Message, peer: str | None) -> Reply | Take:
        """What takes the body of a request, or why it is refused; ``peer`` is whose keys protected it."""

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
            self._heard(data, sender, time.monotonic_ns(), partial(self._tell, sender, ancillary))

    def _tell(self, sender: Address, ancillary: list[tuple[int, int, bytes]], answer: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendmsg([answer], _from_where(ancillary) if self._any_address else (), 0, sender)
        except OSError:  # who asked asks again
            return

    def _heard(self, data: bytes, sender: Address, mono_ns: int, tell: Callable[[bytes], None]) -> None:
        try:
            message = parse(data)
        except BadFrame:
            self.refused += 1
            return
        if not message.is_request:
            if message.type == CON:  # a ping, or a stranger's
                tell(encode(Message(RST, EMPTY, message.mid)))
            return
        if message.type not in (CON, NON):
            return
        key = (sender, message.mid)
        known = self._answered.get(key)
        if known is not None and known[1] > mono_ns / 1e9:
            if known[0] and message.type == CON:
                tell(known[0])
            return
        self._remember(key, b"", mono_ns)  # in work: its copies get no answer of their own

        def answer(reply: Message | None) -> None:
            if reply is not None:
                told = encode(reply)
                self._remember(key, told, mono_ns)
                tell(told)

        self._respond(message, sender, mono_ns, answer)

    def _remember(self, key: tuple[Address, int], told: bytes, mono_ns: int) -> None:
        self._answered[key] = (told, mono_ns / 1e9 + ANSWERED_S)
        self._answered.move_to_end(key)
        if len(self._answered) > ANSWERED_MAX:
            self._answered.popitem(last=False)

    def _respond(
        self, message: Message, sender: Address, mono_ns: int, answer: Callable[[Message | None], None]
    ) -> None:
        """Open what is protected, have it handled, and protect the answer."""

        def plain(code: int, text: str) -> Message:
            return self._message(message, Reply(code, text))

        if self._contexts is None:
            self._handle(message, (sender,), None, mono_ns, lambda reply: answer(self._message(message, reply)))
            return
        if message.option(Option.OSCORE) is None:
            self.refused += 1
            answer(plain(Code.UNAUTHORIZED, "OSCORE is needed here"))
            return
        from drivers.buses import coap_oscore  # its packages weigh more than this bus

        try:
            opened = coap_oscore.open_request(self._contexts.values(), message, plain)
        except coap_oscore.Denied as denied:
            self.refused += 1
            answer(denied.reply if message.type == CON else None)
            return
        except DriverError:  # no sequence number could be reserved
            self.refused += 1
            answer(plain(Code.SERVER_ERROR, "the state of OSCORE cannot be kept"))
            return

        def protected(reply: Reply) -> None:
            try:
                answer(opened.protect(self._message(message, reply)))
            except DriverError:
                self.refused += 1
                answer(plain(Code.SERVER_ERROR, "the state of OSCORE cannot be kept"))

        peer = opened.context.peer
        self._handle(opened.message, (sender, peer), peer, mono_ns, protected)

    def _message(self, request: Message, reply: Reply) -> Message:
        if request.type == CON:
            kind, mid = ACK, request.mid
        else:
            kind, mid = NON, self._mid
            self._mid = self._mid + 1 & 0xFFFF
        payload = reply.body or reply.text[:TEXT_CHARACTERS_MAX].encode()
        return Message(kind, reply.code, mid, request.token, reply.options, payload)

    def _handle(
        self,
        request: Message,
        who: tuple[object, ...],
        peer: str | None,
        mono_ns: int,
        done: Callable[[Reply], None],
    ) -> None:
        """Give the body of a request to what takes it, once it is whole."""
        found: Reply | Take
        if request.critical is not None or request.option(Option.OSCORE) is not None:
            found = Reply(Code.BAD_OPTION, f"option {request.critical or int(Option.OSCORE)} is not known here")
        else:
            found = self.resource(request, peer)
        if isinstance(found, Reply):
            self.refused += 1
            done(found)
            return
        try:
            block, asked = request.block(Option.BLOCK1), request.block(Option.BLOCK2)
        except BadFrame as error:
            done(Reply(Code.BAD_REQUEST, str(error)))
            return

        def finish(reply: Reply) -> None:
            if block is not None:  # an answer that asks for no more blocks is the last
                told = replace(block, more=reply.code == Code.CONTINUE)
                reply = replace(reply, options=(*reply.options, (Option.BLOCK1, block_value(told))))
            done(_part(reply, asked) if request.code == GET else reply)

        body = self._body(request, block, (*who, request.path, request.code), mono_ns / 1e9)
        if isinstance(body, Reply):
            finish(body)
            return
        reply = found(body, mono_ns)
        if isinstance(reply, Reply):
            finish(reply)
        else:
            self._work(reply, finish)

    def _work(self, reply: Awaitable[Reply], finish: Callable[[Reply], None]) -> None:
        async def work() -> None:
            try:
                finish(await reply)
            finally:
                self._in_work -= 1

        assert self.group is not None
        self._in_work += 1
        self.group.create_task(work())

    @property
    def busy(self) -> bool:
        """Whether no more requests that take time are taken on."""
        return self._in_work >= IN_WORK_MAX

    def _body(self, request: Message, block: Block | None, key: tuple[object, ...], now: float) -> bytes | Reply:
        """The whole body, or what is answered to a part of it or to one that is too large."""
        if block is not None:
            reply = self._add(request, block, key, now)
            return bytes(self._assemblies.pop(key).body) if reply is None else reply
        if len(request.payload) > self._body_max:
            return self._too_large()
        return request.payload

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


def _part(reply: Reply, asked: Block | None) -> Reply:
    """The block of an answer that was asked for (RFC 7959, 2.4); all of it where it fits into one."""
    exponent = BLOCK_EXPONENT_MAX if asked is None else asked.exponent
    size = 1 << (exponent + 4)
    if asked is None and len(reply.body) <= size:
        return reply
    number = 0 if asked is None else asked.number
    start = number * size
    if start and start >= len(reply.body):
        return Reply(Code.BAD_REQUEST, "there is no such block")
    block = Block(number, start + size < len(reply.body), exponent)
    etag = hashlib.sha256(reply.body).digest()[:8]
    options = (*reply.options, (Option.ETAG, etag), (Option.BLOCK2, block_value(block)))
    return replace(reply, options=options, body=reply.body[start : start + size])


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
