"""Names resolved over one link: its own name servers, asked through its own interface; nothing leaks over another.

Answers are kept for their time to live. Where no server answers, what they said last is used for a day more (serve
stale, RFC 8767): a link whose name servers are dead still reaches a server whose address was known.
dnspython writes and reads the messages; it is imported when the first name is asked for (6 MiB).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.bound import bind, open_socket

PORT = 53
ANSWER_S = 0.8  # for one server; then the next is asked
ROUNDS = 2
TTL_MIN_S, TTL_MAX_S = 5.0, 3600.0
STALE_S = 86_400.0
NAMES_MAX = 64
UDP_BYTES = 1232  # an answer of this size passes everywhere unfragmented (DNS flag day 2020)
HOSTS = Path("/etc/hosts")


class UnknownNameError(OSError):
    """No name server of the link knows the name, or none answers; ``strerror`` says which."""

    def __init__(self, cause: str) -> None:
        super().__init__(socket.EAI_NONAME, cause)


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[str, ...]
    until: float
    """Monotonic seconds of the event loop."""


class Names:
    """Resolves names over ``interface`` by ``servers`` (IP addresses). An instance is called with a host name."""

    def __init__(self, interface: str | None, servers: Sequence[str], *, hosts: Path = HOSTS, port: int = PORT) -> None:
        self.interface = interface
        self.servers = tuple(servers)
        self._hosts = hosts
        self._port = port
        self._known: dict[str, _Known] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses, IPv4 before IPv6. Raises UnknownNameError."""
        if is_address(host):
            return [host]
        name = host.rstrip(".").lower()
        local = addresses_in(self._hosts, name)
        if local:
            return local
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is not None and now < known.until:
            return known.addresses
        try:
            found = await self._ask(name)
        except TimeoutError as error:
            if known is not None and now < known.until + STALE_S:
                return known.addresses
            raise UnknownNameError(f"no name server of the link answers for {name}") from error
        if not found.addresses:
            raise UnknownNameError(f"{name} is not known to the name servers of the link")
        self._known.pop(name, None)
        self._known[name] = found
        if len(self._known) > NAMES_MAX:
            del self._known[next(iter(self._known))]
        return found.addresses

    async def _ask(self, name: str) -> _Known:
        """Both kinds of address, asked at the same time. Raises TimeoutError where no server answers."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask_all(name, kind)) for kind in ("A", "AAAA")]
        answers = [task.result() for task in tasks]
        found = [answer for answer in answers if answer is not None]
        if len(found) < len(answers) and not any(answer.addresses for answer in found):
            raise TimeoutError
        ttl = min((answer.until for answer in found if answer.addresses), default=TTL_MIN_S)
        until = asyncio.get_running_loop().time() + min(max(ttl, TTL_MIN_S), TTL_MAX_S)
        return _Known(tuple(address for answer in found for address in answer.addresses), until)

    async def _ask_all(self, name: str, kind: str) -> _Known | None:
        """One server after the other; ``until`` is the time to live here. None where none gives an answer."""
        for server in self.servers * ROUNDS:
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._ask_one(server, name, kind)
            except OSError:
                continue
        return None

    async def _ask_one(self, server: str, name: str, kind: str) -> _Known:
        """Raises OSError where the server has no answer to give (SERVFAIL and the like)."""
        import dns.exception
        import dns.flags
        import dns.message
        import dns.rcode

        try:
            query = dns.message.make_query(name, kind, use_edns=0, payload=UDP_BYTES)
            answer = dns.message.from_wire(await self._udp(server, query.to_wire()), ignore_trailing=True)
            if answer.flags & dns.flags.TC:
                answer = dns.message.from_wire(await self._tcp(server, query.to_wire()))
            if not query.is_response(answer) or answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise UnknownNameError(f"{server} cannot answer")
            assert isinstance(answer, dns.message.QueryMessage)
            chain = answer.resolve_chaining()
        except dns.exception.DNSException as error:
            raise UnknownNameError(f"{server} answers nonsense: {error}") from error
        records = () if chain.answer is None else tuple(record.to_text() for record in chain.answer)
        return _Known(records, float(chain.minimum_ttl))

    async def _udp(self, server: str, query: bytes) -> bytes:
        """The datagram that comes back from the server's own address with the number of the question."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            bind(sock, self.interface)
            await loop.sock_connect(sock, (server, self._port))  # the kernel then takes nothing from anybody else
            await loop.sock_sendall(sock, query)
            while True:
                data = await loop.sock_recv(sock, 65_535)
                if data[:2] == query[:2]:
                    return data

    async def _tcp(self, server: str, query: bytes) -> bytes:
        sock = await open_socket(server, self._port, self.interface)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        except asyncio.IncompleteReadError as error:
            raise UnknownNameError(f"{server} hangs up") from error
        finally:
            writer.transport.abort()


def is_address(host: str) -> bool:
    """Whether a host is an IP address already."""
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


def addresses_in(hosts: Path, name: str) -> list[str]:
    """The addresses of a name in a file such as hosts(5)."""
    try:
        lines = hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.partition("#")[0].lower().split() for line in lines]
    return [word[0] for word in words if name in word[1:] and is_address(word[0])]
