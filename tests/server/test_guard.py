"""Who may ask, and how much: tokens, cookies, host names, TLS, sizes, slow clients, bombs."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import struct
import subprocess
from pathlib import Path

import httpx
import pytest
import zstandard

from gateway.server import http, serve
from gateway.server.errors import ServerError
from gateway.server.identity.guard import check_listen, host_name, is_loopback, read_token
from gateway.server.serve import serve as run_server
from gateway.server.settings import ServerSettings
from tests.server.support import LD, ROOT, meter, serving, upsert

TOKEN = "a-token-of-more-than-16-characters"


async def test_a_token_guards_everything_but_health(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/", "/static/console.css"):
            assert (await client.get(path)).status_code == 200, "the page itself, which asks for the token"
            assert (await client.post(path)).status_code == 401
        for path in (f"{ROOT}/entities?type=A", "/api/console/state", "/metrics", "/api/time", "/nothing"):
            for given in ("", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
                answer = await client.get(path, headers={"Authorization": given.encode()})
                assert answer.status_code == 401, (path, given)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in answer.text
            answer = await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code in (200, 404)


async def test_the_cookie_opens_the_page_for_reading(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as client:
        assert (await client.get("/login", params={"token": "wrong"})).status_code == 401
        answer = await client.get("/login", params={"token": TOKEN})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
        assert (await client.get("/api/console/state")).status_code == 200
        assert (await upsert(client, meter())).status_code == 403
        client.cookies.set("lamppost", "0" * 64, domain="127.0.0.1")
        client.cookies.delete("lamppost", domain="127.0.0.1")
        forged = {"Cookie": "lamppost=" + "0" * 64}
        assert (await client.get("/api/console/state", headers=forged)).status_code == 401


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
async def test_without_a_token_only_loopback_names_are_answered(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get("/api/time", headers={"Host": name})).status_code == 403
    assert (await client.get("/api/time", headers={"Host": "localhost:9090"})).status_code == 200


@pytest.mark.parametrize(
    ("host", "secure", "token", "good"),
    [
        ("127.0.0.1", False, None, True),
        ("::1", False, None, True),
        ("localhost", False, None, True),
        ("127.8.8.8", False, None, True),
        ("0.0.0.0", False, TOKEN, False),
        ("0.0.0.0", True, None, False),
        ("::", True, TOKEN, True),
        ("192.168.1.2", False, None, False),
        ("gateway.example", False, TOKEN, False),
        ("localhost.evil.example", False, None, False),
    ],
)
def test_beyond_loopback_needs_tls_and_a_token(host: str, secure: bool, token: str | None, good: bool) -> None:
    if good:
        check_listen(host, secure=secure, token=token)
        return
    with pytest.raises(ServerError) as caught:
        check_listen(host, secure=secure, token=token)
    assert caught.value.code == "server.insecure-listen"


async def test_serve_refuses_before_it_opens_anything(tmp_path: Path) -> None:
    settings = ServerSettings(data=tmp_path / "data", host="0.0.0.0", port=0, token=TOKEN)
    with pytest.raises(ServerError) as caught:
        await run_server(settings, ready=lambda _: None, stop=asyncio.Event())
    assert caught.value.code == "server.insecure-listen"
    assert not (tmp_path / "data").exists()
    assert TOKEN not in repr(settings)


async def test_a_port_in_use_is_named(client: httpx.AsyncClient, tmp_path: Path) -> None:
    settings = ServerSettings(data=tmp_path / "other", port=client.base_url.port or 0)
    with pytest.raises(ServerError) as caught:
        await run_server(settings, ready=lambda _: None, stop=asyncio.Event())
    assert caught.value.code == "server.cannot-listen"


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    path.write_text("short\n")
    with pytest.raises(ServerError, match="too weak") as caught:
        read_token(path)
    assert "short" not in caught.value.cause
    with pytest.raises(ServerError) as caught:
        read_token(tmp_path / "missing")
    assert caught.value.code == "server.token-unreadable"


def test_hosts() -> None:
    assert host_name("[::1]:80") == "::1" and host_name("A.b:1") == "a.b" and host_name("a") == "a"
    assert is_loopback("::1") and not is_loopback("128.0.0.1") and not is_loopback("")


async def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    async with serving(tmp_path / "data", token=TOKEN, certificate=certificate, key=key) as client:
        assert client.base_url.scheme == "https"
        context = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(base_url=client.base_url, verify=context) as secure:
            assert (await secure.get("/healthz")).status_code == 200
            cookie = (await secure.get("/login", params={"token": TOKEN})).headers["set-cookie"]
            assert "Secure" in cookie
    with pytest.raises(ServerError) as caught:
        await run_server(
            ServerSettings(data=tmp_path / "x", port=0, certificate=key, key=certificate),
            ready=lambda _: None,
            stop=asyncio.Event(),
        )
    assert caught.value.code == "server.bad-certificate"


# sizes


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, body_max=10_000) as client:
        answer = await client.post(f"{ROOT}/entities", content=b" " * 10_001, headers=LD)
        assert answer.status_code == 413

        async def chunks() -> object:
            for _ in range(20):
                yield b" " * 1000

        answer = await client.post(f"{ROOT}/entities", content=chunks(), headers=LD)
        assert answer.status_code == 413


async def test_gzip_bodies(client: httpx.AsyncClient) -> None:
    packed = {**LD, "Content-Encoding": "gzip"}
    url = f"{ROOT}/entityOperations/upsert"
    body = gzip.compress(httpx.Request("POST", "http://x", json=[meter()]).content)
    assert (await client.post(url, content=body, headers=packed)).status_code == 201
    bomb = gzip.compress(b" " * 200_000_000, 9)
    assert len(bomb) < 300_000
    assert (await client.post(url, content=bomb, headers=packed)).status_code == 413
    assert (await client.post(url, content=body[:-5], headers=packed)).status_code == 400
    assert (await client.post(url, content=body + b"more", headers=packed)).status_code == 400
    assert (await client.post(url, content=b"no gzip", headers=packed)).status_code == 400
    answer = await client.post(url, content=body, headers={**LD, "Content-Encoding": "br"})
    assert answer.status_code == 415


@pytest.mark.parametrize("sized", [True, False])
async def test_zstd_bodies(client: httpx.AsyncClient, sized: bool) -> None:
    def pack(plain: bytes) -> bytes:
        packer = zstandard.ZstdCompressor(level=3, write_content_size=sized).compressobj(len(plain) if sized else -1)
        return packer.compress(plain) + packer.flush()

    packed = {**LD, "Content-Encoding": "zstd"}
    url = f"{ROOT}/entityOperations/upsert"
    body = pack(httpx.Request("POST", "http://x", json=[meter()]).content)
    assert (await client.post(url, content=body, headers=packed)).status_code == 201
    bomb = pack(b" " * 200_000_000)
    assert len(bomb) < 300_000
    assert (await client.post(url, content=bomb, headers=packed)).status_code == 413
    assert (await client.post(url, content=body[:-5], headers=packed)).status_code == 400
    assert (await client.post(url, content=body + b"more", headers=packed)).status_code == 400
    assert (await client.post(url, content=b"no zstd", headers=packed)).status_code == 400


async def test_a_zstd_frame_that_lies_about_its_size(client: httpx.AsyncClient) -> None:
    plain = b" " * 10_000_000
    frame = zstandard.ZstdCompressor().compress(plain)
    lie = frame.replace(struct.pack("<I", len(plain)), struct.pack("<I", 1000), 1)
    assert zstandard.frame_content_size(lie) == 1000
    answer = await client.post(f"{ROOT}/entities", content=lie, headers={**LD, "Content-Encoding": "zstd"})
    assert answer.status_code == 400


async def test_the_codings_of_bodies_are_said(client: httpx.AsyncClient) -> None:
    url = f"{ROOT}/entityOperations/upsert"
    for answer in (
        await client.get("/api/time"),
        await client.post(url, json=[meter()], headers=LD),
        await client.post(url, content=b"x", headers={**LD, "Content-Encoding": "br"}),
    ):
        assert answer.headers["accept-encoding"] == "zstd, gzip"


@pytest.mark.parametrize("depth", [200, 100_000])
async def test_nesting_bombs(client: httpx.AsyncClient, depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        value = opening * depth + b"1" + closing * depth
        body = b'{"@context":"%b","id":"urn:x:1","type":"T","a":{"type":"Property","value":%b}}' % (b"", value)
        body = body.replace(b'"@context":"",', b'"@context":[],')
        answer = await client.post(f"{ROOT}/entities", content=body, headers=LD)
        assert answer.status_code == 400, answer.text
        sub = b'{"value":1,"s":' * depth + b"1" + b"}" * depth
        body = b'{"@context":[],"id":"urn:x:1","type":"T","a":%b}' % sub
        assert (await client.post(f"{ROOT}/entities", content=body, headers=LD)).status_code == 400
    assert (await client.get("/healthz")).status_code == 200


async def test_too_many_elements(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{ROOT}/entityOperations/delete", json=[f"urn:x:{n}" for n in range(10_001)])
    assert answer.status_code == 400


async def test_long_queries_and_heads(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ROOT}/entities", params={"q": "a" * 9000})).status_code == 414
    many = {f"p{n}": "1" for n in range(100)}
    assert (await client.get(f"{ROOT}/entities", params=many)).status_code == 400
    answer = await client.get("/healthz", headers={f"x-{n}": "y" * 4000 for n in range(10)})
    assert answer.status_code == 431
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"GET /healthz?" + b"a" * 50_000)
    await writer.drain()
    assert b"431" in await reader.readline()
    writer.close()


async def test_slow_heads_and_bodies_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HEADER_SECONDS_MAX", 0.3)
    monkeypatch.setattr(http, "BODY_SECONDS_MAX", 0.3)
    async with serving(tmp_path) as client:
        for start in (b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: 127"):
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            writer.write(start)
            async with asyncio.timeout(5):
                assert await reader.read() == b"", start
            writer.close()
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        assert (await client.get("/healthz")).status_code == 200


async def test_stopping_takes_less_than_two_seconds_with_open_connections(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with serving(tmp_path) as client:
        address = (client.base_url.host, client.base_url.port)
        idle = await asyncio.open_connection(*address)
        events = await asyncio.open_connection(*address)
        events[1].write(b"GET /api/console/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await events[0].readline()).startswith(b"HTTP/1.1 200")
        began = loop.time()
    assert loop.time() - began < 2.0
    idle[1].close()
    events[1].close()
