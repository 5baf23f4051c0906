"""Who answers in the server's place is not believed; who the server is, and who the box is, is proven by TLS."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import UplinkError
from gateway.model import Batch, Priority, Range, Reading
from gateway.uplink.client import Access
from gateway.uplink.ngsild import TIME, UPSERT, NgsiLdHttp
from gateway.uplink.transport import PortalError, UnreachableError
from tests.server.support import serving
from tests.sim.scripted_server import Answer, Handler, Request, ScriptedServer, until
from tests.sim.uplink_kit import box, entities, lamppost, received

HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<html><body>Welcome to our WiFi</body></html>"


def portal(answer: Answer) -> Handler:
    return lambda request: answer


ANSWERS = {
    "a redirection": Answer(302, headers={"Location": "http://portal.example/login"}),
    "a page": Answer(200, PAGE, HTML),
    "a login is required": Answer(511, PAGE, HTML),
    "a page as a refusal": Answer(400, PAGE, HTML),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_portal_is_recognised(name: str) -> None:
    async with ScriptedServer(portal(ANSWERS[name])) as server:
        transport = NgsiLdHttp(Access(server.url, timeout_s=5), entities)
        for ask in (transport.held, transport.server_time):
            with pytest.raises(PortalError) as caught:
                await ask()
            assert caught.value.code == "uplink.portal"
        server.handler = lamppost(portal(ANSWERS[name]))
        await transport.held()
        for priority in Priority:
            with pytest.raises(PortalError):
                await transport.send(Batch("box", "s", (Range(1, 1),), (Reading("1", "q0", 1.0, "W", 1),), priority))
        await transport.close()


@pytest.mark.parametrize("name", ["a page", "a page as a refusal"])
async def test_a_portal_takes_nothing(tmp_path: Path, name: str) -> None:
    async with ScriptedServer(portal(ANSWERS[name])) as server, box(tmp_path, server) as b:
        b.make(1, "meter")
        b.make(2, "air")
        await until(lambda: b.uplink.state().error != "" and len(server.requests) > 2)
        assert b.outbox.stats().depth == 4 and b.outbox.stats().dropped == {}
        server.handler = lamppost()
        await until(lambda: b.empty)
        assert sorted(received(server)) == [1, 2] and b.uplink.state().up


@pytest.mark.parametrize("status", [200, 202, 205])
async def test_a_success_that_no_broker_gives_acknowledges_nothing(tmp_path: Path, status: int) -> None:
    """The probes look well; but 200 to an upsert is not of CIM 009."""
    async with ScriptedServer(lamppost(portal(Answer(status, b"{}")))) as server, box(tmp_path, server) as b:
        b.make(1)
        await until(lambda: "where 201, 204, 207" in b.uplink.state().error)
        assert b.outbox.stats().depth == 2


@pytest.mark.parametrize("answer", [Answer(201, PAGE), Answer(207, PAGE)])
async def test_a_success_without_json_acknowledges_nothing(tmp_path: Path, answer: Answer) -> None:
    async with ScriptedServer(lamppost(portal(answer))) as server, box(tmp_path, server) as b:
        b.make(1)
        await until(lambda: b.uplink.state().error != "")
        assert b.outbox.stats().depth == 2


async def test_a_portal_that_shows_up_later(tmp_path: Path) -> None:
    async with ScriptedServer(lamppost()) as server, box(tmp_path, server) as b:
        b.make(1)
        await until(lambda: b.empty)
        server.handler = portal(ANSWERS["a page"])
        b.make(2)
        await until(lambda: "web page" in b.uplink.state().error)
        assert b.outbox.stats().depth == 2
        server.handler = lamppost()
        await until(lambda: b.empty)


async def test_codings_are_learned(tmp_path: Path) -> None:
    for accepts, coding in (("zstd, gzip", "zstd"), ("gzip", "gzip"), ("identity", None)):
        async with ScriptedServer(lamppost(accepts=accepts)) as server, box(tmp_path / coding.__str__(), server) as b:
            for n in range(20):
                b.make(n)
            await until(lambda: b.empty)
            largest = max((r for r in server.posts() if r.path == UPSERT), key=lambda r: len(r.plain))
            assert len(largest.plain) > 1000 and largest.headers.get("content-encoding") == coding
            assert received(server) == list(range(20))


@pytest.mark.parametrize("status", [400, 415, 500, 0])
async def test_a_broker_that_cannot_unpack(tmp_path: Path, status: int) -> None:
    """Whatever it does with a packed body, hanging up included, it gets the same plain: and then always."""

    def answer(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(404)
        if "content-encoding" in request.headers:
            return Answer(status) if status else Answer(reset_before=True)
        return Answer() if request.path == UPSERT else Answer(404)

    async with ScriptedServer(answer) as server, box(tmp_path, server) as b:
        for n in range(40):
            b.make(n)
        await until(lambda: b.empty)
        for n in range(40, 80):
            b.make(n)
        await until(lambda: b.empty)
        plain = [r for r in server.posts() if r.path == UPSERT and "content-encoding" not in r.headers]
        assert [e["q0"]["value"] for r in plain for e in r.json()] == list(range(80))
        packed = [r for r in server.posts() if "content-encoding" in r.headers]
        assert 1 <= len(packed) <= 4 and b.outbox.stats().dropped == {}


def certificate(folder: Path, name: str, host: str, client: bool = False) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = serialization.Encoding.PEM
    paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
    paths[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[object]]]:
    """A server that answers 404 to everything, and who came: the names in the clients' certificates."""
    came: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        while head := await reader.readline():
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                    break
            else:
                length = 0
            while length and (await reader.readline()).strip():
                pass
            await reader.readexactly(length)
            came.append((head.split()[0].decode(), peer and peer["subject"][0][0][1]))
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    server_pair = certificate(tmp_path, "server", "localhost")
    box_pair = certificate(tmp_path, "box-7", "box-7")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_pair)
    context.load_verify_locations(box_pair[0])
    context.verify_mode = ssl.CERT_REQUIRED
    async with tls_server(context) as (url, came):
        transport = NgsiLdHttp(Access(url, ca_file=server_pair[0], certificate=box_pair, timeout_s=5), entities)
        await transport.held()
        await transport.close()
        assert came and {name for _, name in came} == {"box-7"}
        came.clear()
        stranger = NgsiLdHttp(Access(url, ca_file=server_pair[0], timeout_s=5), entities)
        with pytest.raises(UnreachableError):
            await stranger.held()
        assert came == []


async def test_a_certificate_of_another_name_is_a_portal(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "portal", "portal.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    async with tls_server(context) as (url, came):
        with pytest.raises(PortalError) as caught:
            await NgsiLdHttp(Access(url, ca_file=pair[0], timeout_s=5), entities).held()
        assert caught.value.code == "uplink.portal" and came == []
        with pytest.raises(UnreachableError) as unknown:
            await NgsiLdHttp(Access(url, timeout_s=5), entities).held()
        assert unknown.value.code == "uplink.tls" and came == []


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    ours, other = certificate(tmp_path, "a", "a"), certificate(tmp_path, "b", "b")
    for pair in ((tmp_path / "none.pem", ours[1]), (ours[0], other[1])):
        with pytest.raises(UplinkError) as caught:
            NgsiLdHttp(Access("https://x", certificate=pair, timeout_s=1), entities)
        assert caught.value.code == "uplink.bad-certificate"


async def test_a_lamppost_server_is_known_and_takes_zstd(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        transport = NgsiLdHttp(Access(str(client.base_url), timeout_s=5), entities)
        assert not transport.orders_history
        await transport.held()
        assert transport.orders_history
        assert transport._coding.choose(10_000) == "zstd"
        assert await transport.server_time() is not None
        assert (await client.get(TIME)).status_code == 200
        await transport.close()
