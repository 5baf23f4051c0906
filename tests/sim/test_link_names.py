"""Names of a link against a real name server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from gateway.uplink import link_names
from gateway.uplink.link_names import Names, UnknownNameError, addresses_in

ZONE = {
    ("box.test.", "A"): ["box.test. 300 IN A 192.0.2.1"],
    ("box.test.", "AAAA"): ["box.test. 60 IN AAAA 2001:db8::1"],
    ("alias.test.", "A"): ["alias.test. 300 IN CNAME box.test.", "box.test. 300 IN A 192.0.2.1"],
    ("short.test.", "A"): ["short.test. 0 IN A 192.0.2.2"],
    ("big.test.", "A"): [f"big.test. 300 IN A 192.0.2.{n}" for n in range(1, 101)],
}
DEAD = "127.0.0.9"  # nothing listens there


class NameServer(asyncio.DatagramProtocol):
    """Answers from ZONE over UDP and TCP. ``mode``: `well`, `silent`, `broken` (SERVFAIL) or `nonsense`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.mode = "well"
        self.port = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.mode == "silent":
            return
        answer = self._answer(data)
        if len(answer) > 1232:
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            answer = short.to_wire()
        if self.mode == "nonsense":
            answer = answer[:2] + b"\xff" * 9
        self._udp.sendto(b"?? stray", addr)  # what has another number is not the answer
        self._udp.sendto(answer, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self._answer(await reader.readexactly(size))
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), question.rdtype.name
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        if self.mode == "broken":
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer.to_wire()
        for line in ZONE.get((name, kind), []):
            owner, ttl, _, word, value = line.split()
            answer.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", word, value))
        if not any(key[0] == name for key in ZONE):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire(max_size=65_535)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    monkeypatch.setattr(link_names, "ANSWER_S", 0.3)
    one = NameServer()
    await one.start()
    yield one
    await one.stop()


def names(server: NameServer, *addresses: str, hosts: Path = Path("/nowhere")) -> Names:
    return Names("lo", addresses or ("127.0.0.1",), hosts=hosts, port=server.port)


async def test_both_kinds_of_address_and_the_time_to_live(server: NameServer) -> None:
    ask = names(server)
    assert await ask("Box.test") == ("192.0.2.1", "2001:db8::1")
    assert await ask("box.test.") == ("192.0.2.1", "2001:db8::1")
    assert sorted(server.asked) == [("box.test.", "A"), ("box.test.", "AAAA")]  # the second answer was known
    assert await ask("alias.test") == ("192.0.2.1",)


async def test_an_answer_too_large_for_a_datagram_comes_over_tcp(server: NameServer) -> None:
    assert len(await names(server)("big.test")) == 100


async def test_addresses_and_the_hosts_file_ask_nobody(server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# 192.0.2.7 box.test\n192.0.2.8 other.test Box.test # the box\n::1\n")
    ask = names(server, hosts=hosts)
    assert await ask("192.0.2.9") == ["192.0.2.9"]
    assert await ask("2001:db8::9") == ["2001:db8::9"]
    assert await ask("box.test") == ["192.0.2.8"]
    assert server.asked == []
    assert addresses_in(hosts, "#") == []


async def test_a_dead_server_is_passed_over(server: NameServer) -> None:
    assert await names(server, DEAD, "127.0.0.1")("box.test") == ("192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize("mode", ["silent", "broken", "nonsense"])
async def test_what_was_known_serves_while_no_server_answers(
    server: NameServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_names, "TTL_MIN_S", 0.0)
    ask = names(server)
    assert await ask("short.test") == ("192.0.2.2",)
    server.mode = mode
    assert await ask("short.test") == ("192.0.2.2",)
    with pytest.raises(UnknownNameError, match=r"no name server of the link answers for box\.test"):
        await ask("box.test")
    monkeypatch.setattr(link_names, "STALE_S", 0.0)
    with pytest.raises(UnknownNameError):
        await ask("short.test")


async def test_a_name_that_does_not_exist(server: NameServer) -> None:
    with pytest.raises(UnknownNameError, match=r"nobody\.test is not known"):
        await names(server)("nobody.test")


async def test_what_is_kept_is_bounded(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_names, "NAMES_MAX", 1)
    ask = names(server)
    for name in ("box.test", "alias.test", "box.test"):
        await ask(name)
    assert server.asked.count(("box.test.", "A")) == 2


async def test_no_name_server_at_all(server: NameServer) -> None:
    with pytest.raises(UnknownNameError):
        await Names("lo", (), hosts=Path("/nowhere"))("box.test")
