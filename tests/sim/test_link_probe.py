"""Probes of a link against real servers on loopback: the right one, others that answer, and none."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiocoap
import aiocoap.resource
import pytest

from drivers.http1 import HttpError, Response
from firmware_sim.net import certificates
from gateway.uplink.link_probe import Outcome, Prober, can_probe, portal
from tests.sim.scripted_server import Answer, ScriptedServer

PAGE = b"<html>Welcome</html>"


async def ask(answer: Answer, *, own: bool = False, path: str = "") -> Outcome:
    async with ScriptedServer(lambda request: answer) as server:
        outcome = await Prober(server.url + path, "lo", None, own=own).ask()
        assert [request.path for request in server.requests] == [path if own else f"{path}/api/time"]
        return outcome


async def test_the_server_tells_the_time() -> None:
    outcome = await ask(Answer(200, b'{"now_ns": 1}'), path="/city")
    assert outcome.found == "works"
    assert outcome.rtt_s is not None
    assert 0 < outcome.rtt_s < 1


@pytest.mark.parametrize("status", [401, 404, 405, 500, 503])
async def test_another_broker_refuses_the_path_but_is_there(status: int) -> None:
    assert (await ask(Answer(status, PAGE))).found == "works"


@pytest.mark.parametrize("answer", [Answer(200, PAGE), Answer(200, b"[]"), Answer(302, b""), Answer(511, PAGE)])
async def test_a_portal_answers(answer: Answer) -> None:
    outcome = await ask(answer)
    assert outcome.found == "portal"
    assert outcome.cause


async def test_a_url_for_probing_may_answer_with_a_page_but_not_lead_elsewhere() -> None:
    assert (await ask(Answer(200, PAGE), own=True, path="/check")).found == "works"
    assert (await ask(Answer(302, b""), own=True, path="/check")).found == "portal"


@pytest.mark.parametrize("scheme", ["http", "https", "mqtt", "mqtts"])
async def test_nobody_there(scheme: str) -> None:
    assert await Prober(f"{scheme}://127.0.0.1:1", "lo", None).ask() == Outcome("fails", cause="Connection refused")


async def test_a_name_that_is_not_known() -> None:
    async def names(host: str) -> list[str]:
        raise OSError(-2, "not known to the name servers of the link")

    outcome = await Prober("http://server.test:1", "lo", names).ask()
    assert outcome == Outcome("fails", cause="not known to the name servers of the link")


async def test_an_interface_that_is_not_there() -> None:
    outcome = await Prober("http://127.0.0.1:1", "nowhere0", None).ask()
    assert outcome == Outcome("fails", cause="there is no interface nowhere0")


async def test_tls_is_verified(tmp_path: Path) -> None:
    ca_file, pem = certificates.make(tmp_path, "city", "city.test")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    async def names(host: str) -> list[str]:
        return ["127.0.0.1"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"now_ns":1}')

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for scheme in ("https", "mqtts"):
            url = f"{scheme}://city.test:{port}"
            assert (await Prober(url, "lo", names, ca_file=ca_file).ask()).found == "works"
            outcome = await Prober(url, "lo", names).ask()
            assert outcome.found == "fails"
            assert "certificate" in outcome.cause.lower()


async def test_a_coap_server_is_pinged() -> None:
    server = await aiocoap.Context.create_server_context(aiocoap.resource.Site(), bind=("127.0.0.1", 56_830))
    try:
        outcome = await Prober("coap://127.0.0.1:56830", "lo", None).ask()
        assert outcome.found == "works"
        assert outcome.rtt_s is not None
    finally:
        await server.shutdown()
    assert await Prober("coap://127.0.0.1:56830", "lo", None).ask() == Outcome("fails", cause="Connection refused")


def test_what_can_be_probed() -> None:
    assert can_probe("https://a") and can_probe("coap://a") and not can_probe("coaps://a")
    with pytest.raises(HttpError):
        Prober("http://user@host", None, None)
    assert portal(Response(204, {}, b""), own=True) == ""
