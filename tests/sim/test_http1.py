"""The HTTP/1.1 client against a real server on a real socket."""

from __future__ import annotations

import asyncio
import time

import pytest

from drivers.http1 import HttpClient, HttpError
from tests.sim.scripted_server import Answer, ScriptedServer


async def test_reuses_the_connection() -> None:
    async with ScriptedServer(lambda r: Answer(200, r.body)) as server:
        client = HttpClient(server.url + "/base", timeout_s=5, headers={"X-One": "1"})
        for n in range(3):
            response = await client.request("POST", "/a?b=c", {"X-Two": "2"}, b"x%d" % n)
            assert (response.status, response.body) == (200, b"x%d" % n)
        assert server.connections == 1
        assert server.requests[0].path == "/base/a?b=c"
        assert server.requests[0].headers["x-one"] == "1" and server.requests[0].headers["x-two"] == "2"
        assert client.bytes_sent > 0 and client.bytes_received > 0
        await client.close()


async def test_a_kept_connection_that_died_is_replaced_silently() -> None:
    async with ScriptedServer(lambda r: Answer(200, b"ok")) as server:
        client = HttpClient(server.url, timeout_s=5)
        await client.request("GET", "/")
        await server.stop()
        await server.start()
        assert (await client.request("GET", "/")).body == b"ok"
        assert server.connections == 2
        await client.close()


async def test_a_fresh_connection_that_dies_is_an_error_and_not_repeated() -> None:
    async with ScriptedServer(lambda r: Answer(reset_before=True)) as server:
        client = HttpClient(server.url, timeout_s=5)
        with pytest.raises(HttpError) as caught:
            await client.request("POST", "/", body=b"{}")
        assert caught.value.kind == "lost" and len(server.requests) == 1


async def test_a_half_read_answer_is_not_repeated() -> None:
    async with ScriptedServer(lambda r: Answer(200, b"first")) as server:
        client = HttpClient(server.url, timeout_s=5)
        await client.request("POST", "/")
        server.script = [Answer(200, b"x" * 1000, reset_within=True)]
        with pytest.raises(HttpError):
            await client.request("POST", "/")
        assert len(server.requests) == 2


async def test_a_stalled_server_does_not_hang() -> None:
    async with ScriptedServer(lambda r: Answer(stall_s=60)) as server:
        client = HttpClient(server.url, timeout_s=0.3)
        start = time.monotonic()
        with pytest.raises(HttpError) as caught:
            await client.request("GET", "/")
        assert caught.value.kind == "timeout" and time.monotonic() - start < 10


async def test_nobody_listens() -> None:
    async with ScriptedServer() as server:
        url = server.url
    with pytest.raises(HttpError) as caught:
        await HttpClient(url, timeout_s=5).request("GET", "/")
    assert caught.value.kind == "connect" and "refused" in caught.value.cause.lower()


async def test_the_body_is_bounded() -> None:
    async with ScriptedServer(lambda r: Answer(200, b"x" * (2**20 + 1))) as server:
        with pytest.raises(HttpError) as caught:
            await HttpClient(server.url, timeout_s=10).request("GET", "/")
        assert caught.value.kind == "protocol"


async def test_not_http_at_all() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(HttpError) as caught:
        await HttpClient(f"http://127.0.0.1:{port}", timeout_s=5).request("GET", "/")
    assert caught.value.kind == "protocol"
    server.close()


async def test_cancelled_requests_leave_nothing_behind() -> None:
    async with ScriptedServer(lambda r: Answer(200, r.path.encode())) as server:
        client = HttpClient(server.url, timeout_s=5)
        server.script = [Answer(200, b"old", stall_s=0.2)]
        task = asyncio.ensure_future(client.request("POST", "/old"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.request("GET", "/new")).body == b"/new"
        await client.close()


async def test_closing_servers_and_empty_answers() -> None:
    async with ScriptedServer(lambda r: Answer(204, close=True)) as server:
        client = HttpClient(server.url, timeout_s=5)
        assert (await client.request("DELETE", "/x")).status == 204
        assert (await client.request("DELETE", "/y")).status == 204
        assert server.connections == 2


async def test_a_header_that_cannot_be_written_is_an_http_error() -> None:
    async with ScriptedServer() as server:
        with pytest.raises(HttpError) as caught:
            await HttpClient(server.url, timeout_s=1, headers={"Authorization": "secret\nb"}).request("GET", "/")
        assert "secret" not in str(caught.value) and not server.requests


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x", "http://h:99999"])
def test_bad_addresses(url: str) -> None:
    with pytest.raises(HttpError):
        HttpClient(url)


async def test_a_client_bound_to_an_interface_uses_no_other() -> None:
    async def names(host: str) -> list[str]:
        assert host == "server.test"
        return ["127.0.0.1"]

    async with ScriptedServer(lambda r: Answer(200, b"ok")) as server:
        url = f"http://server.test:{server.port}"
        bound = HttpClient(url, timeout_s=5, interface="lo", names=names)
        assert (await bound.request("GET", "/")).body == b"ok"
        assert server.requests[0].headers["host"] == f"server.test:{server.port}"
        await bound.close()

        literal = HttpClient(server.url, timeout_s=5, interface="lo")
        assert (await literal.request("GET", "/")).body == b"ok"
        await literal.close()

        missing = HttpClient(url, timeout_s=5, interface="nowhere0", names=names)
        with pytest.raises(HttpError, match="there is no interface nowhere0") as caught:
            await missing.request("GET", "/")
        assert caught.value.kind == "interface"


async def test_the_next_address_is_tried_after_one_that_refuses() -> None:
    async def names(host: str) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with ScriptedServer(lambda r: Answer(200, b"ok")) as server:
        client = HttpClient(f"http://server.test:{server.port}", timeout_s=5, names=names)
        with pytest.raises(HttpError, match="refused"):
            await client.request("GET", "/")
        assert (await client.request("GET", "/")).body == b"ok"
        await client.close()
