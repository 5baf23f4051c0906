"""The town: that its links are as good and as bad as they are told to be. Real packets, real TCP."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_sim.net.link import EmulatedLink
from firmware_sim.net.namespace import ETC, NETNS, Namespace, missing, sweep
from firmware_sim.net.town import HOST, SERVER, URL, Town
from firmware_sim.process import SimulatorError

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
ECHO_REQUEST, ECHO_REPLY = 8, 0  # RFC 792
HEADERS = 28  # of IP and ICMP
IPV4 = 20


@pytest.fixture(scope="module")
def whole_town() -> Iterator[Town]:
    with Town() as town:
        yield town


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    """As it was before."""
    yield whole_town
    for link in (whole_town.wifi, whole_town.gsm):
        link.carrier(True)
        link.set(delay_s=0.0, jitter_s=0.0, loss=0.0, reorder=0.0, rate=0.0, stalled=False)
    whole_town.front("pass")
    whole_town.portal("wifi", None)
    whole_town.resolver("wifi", "good")


def ping(town: Town, link: EmulatedLink | None = None, count: int = 1, wait_s: float = 1.0) -> list[int]:
    """Round trips in ms of the echo requests that were answered before ``wait_s`` of silence; over a link if given."""
    with town.box.inside():
        echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    trips: list[int] = []
    with echo:
        if link is not None:
            echo.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.device.encode())
        began = {}
        for number in range(count):
            began[number] = time.monotonic()
            with contextlib.suppress(OSError):
                echo.sendto(_echo_request(number), (SERVER, 0))
        echo.settimeout(wait_s)
        with contextlib.suppress(TimeoutError):
            while len(trips) < count:
                kind, _, _, identity, number = struct.unpack("!BBHHH", echo.recv(2048)[IPV4:HEADERS])
                if kind == ECHO_REPLY and identity == os.getpid() & 0xFFFF:
                    trips.append(round(1000 * (time.monotonic() - began[number])))
    return trips


def _echo_request(number: int) -> bytes:
    words = (ECHO_REQUEST << 8, 0, os.getpid() & 0xFFFF, number)
    total = sum(words)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!HHHH", words[0], checksum, *words[2:])


def fetch(town: Town, url: str, timeout_s: float = 3.0) -> str:
    """What a client in the box gets: the status and the start of the body, or the name of the failure."""
    code = (
        "import ssl, sys, urllib.request as r\n"
        "class Stay(r.HTTPRedirectHandler):\n"
        "    def redirect_request(self, *_): return None\n"
        "c = ssl.create_default_context(cafile=sys.argv[2])\n"
        "o = r.build_opener(Stay, r.HTTPSHandler(context=c))\n"
        "try: a = o.open(sys.argv[1], timeout=float(sys.argv[3])); print(a.status, a.read(40))\n"
        "except r.HTTPError as e: print(e.code, e.headers.get('Retry-After'))\n"
        "except OSError as e: print(type(getattr(e, 'reason', e)).__name__)\n"
    )
    command = town.box.command(sys.executable, "-c", code, url, str(town.ca_file), str(timeout_s))
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=True).stdout.strip()


def test_two_ways_to_one_server(town: Town) -> None:
    before = town.wifi.traffic().up.packets, town.gsm.traffic().up.packets
    assert len(ping(town, count=3)) == 3  # the cheap one goes first
    assert len(ping(town, town.gsm, count=5)) == 5
    after = town.wifi.traffic().up.packets, town.gsm.traffic().up.packets
    assert (after[0] - before[0], after[1] - before[1]) == (3, 5)


def test_bytes_are_counted_by_direction(town: Town) -> None:
    before = town.gsm.traffic()
    ping(town, town.gsm, count=4)
    after = town.gsm.traffic()
    assert after.up.bytes - before.up.bytes == after.down.bytes - before.down.bytes == 4 * HEADERS


def test_delay_is_that_of_both_directions(town: Town) -> None:
    town.wifi.set(delay_s=0.1)
    trips = ping(town, count=20, wait_s=2)
    assert len(trips) == 20
    assert min(trips) >= 199  # never too early; too late by what the machine is busy
    assert sorted(trips)[10] < 300


def test_loss_is_within_its_statistics(town: Town) -> None:
    town.gsm.set("up", loss=0.3)
    before = town.gsm.traffic().up
    answered = len(ping(town, town.gsm, count=400, wait_s=0.7))
    up = town.gsm.traffic().up
    passed, lost = up.packets - before.packets, up.lost - before.lost
    assert passed + lost == 400
    assert passed - 20 < answered <= passed  # a busy machine may read an answer too late
    assert 400 * 0.7 - 55 < passed < 400 * 0.7 + 55  # six standard deviations


def test_rate_holds_for_tcp(town: Town) -> None:
    size, rate = 150_000, 1_500_000.0
    town.wifi.set(rate=rate, delay_s=0.01)
    with town.server.inside():
        listener = socket.create_server((SERVER, 0))
    with town.box.inside():
        sender = socket.socket()
    with listener, sender:
        thread = threading.Thread(target=_send, args=(sender, listener.getsockname(), bytes(size)))
        thread.start()
        receiver, _ = listener.accept()
        began = time.monotonic()
        with receiver:
            received = sum(iter(lambda: len(receiver.recv(65_536)), 0))
        took_s = time.monotonic() - began
        thread.join()
    assert received == size
    assert took_s > 0.9 * size * 8 / rate


def _send(sender: socket.socket, address: tuple[str, int], data: bytes) -> None:
    sender.connect(address)
    sender.sendall(data)
    sender.shutdown(socket.SHUT_WR)


def test_a_stall_says_nothing_and_passes_nothing(town: Town) -> None:
    town.wifi.stall()
    assert ping(town, wait_s=0.3) == []
    assert _flags(town, "wifi0") >= {"UP", "LOWER_UP"}
    assert len(ping(town, town.gsm)) == 1
    town.wifi.stall(False)
    assert len(ping(town)) == 1


def test_half_open_passes_one_direction(town: Town) -> None:
    before = town.gsm.traffic()
    town.gsm.stall(way="down")
    assert ping(town, town.gsm, wait_s=0.3) == []
    after = town.gsm.traffic()
    assert (after.up.packets - before.up.packets, after.down.vanished - before.down.vanished) == (1, 1)


def test_a_stall_swallows_what_is_under_way(town: Town) -> None:
    town.wifi.set(delay_s=0.2)
    stalling = threading.Timer(0.1, town.wifi.stall)
    stalling.start()
    assert ping(town, wait_s=0.8) == []
    stalling.join()


def test_a_lost_carrier_shows(town: Town) -> None:
    town.wifi.carrier(False)
    assert ping(town, town.wifi, wait_s=0.3) == []
    _until(lambda: "LOWER_UP" not in _flags(town, "wifi0"))
    assert "UP" in _flags(town, "wifi0")
    town.wifi.carrier(True)
    _until(lambda: "LOWER_UP" in _flags(town, "wifi0"))
    _until(lambda: len(ping(town, town.wifi)) == 1)


def test_down_takes_the_route_and_up_brings_it_back(town: Town) -> None:
    town.wifi.down()
    before = town.gsm.traffic().up.packets
    assert len(ping(town)) == 1
    assert town.gsm.traffic().up.packets == before + 1
    town.wifi.up()
    assert len(ping(town, town.wifi)) == 1


def test_a_modem_is_pulled_out_and_put_back(town: Town) -> None:
    town.gsm.unplug()
    assert _flags(town, "gsm0") == set()
    with pytest.raises(SimulatorError, match="not plugged in"):
        town.gsm.stall()
    town.gsm.plug()
    assert len(ping(town, town.gsm)) == 1


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [("broken", "500 None"), ("busy", "503 7"), ("page", "200 b'<html>"), ("redirect", "302 None")],
)
def test_what_stands_before_the_server_answers_in_its_place(town: Town, behaviour: str, seen: str) -> None:
    town.front(behaviour, seconds=7)  # type: ignore[arg-type]
    assert fetch(town, URL).startswith(seen)


def test_a_hanging_server_and_none(town: Town) -> None:
    town.front("hang")
    assert fetch(town, URL, 0.5) == "TimeoutError"
    town.front(None)
    assert fetch(town, URL) == "ConnectionRefusedError"


@pytest.mark.parametrize(("behaviour", "served", "heard"), [("pass", 1, "204"), ("slow", 1, "204"), ("deaf", 1, "")])
def test_the_proxy_hands_on(town: Town, behaviour: str, served: int, heard: str) -> None:
    with town.server.inside():
        listener = socket.create_server(("127.0.0.1", 9090))
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        town.front(behaviour, seconds=0.5)  # type: ignore[arg-type]
        began = time.monotonic()
        assert fetch(town, URL, 3 if heard else 0.5).startswith(heard or "TimeoutError")
        assert time.monotonic() - began >= (0.5 if behaviour != "pass" else 0)
        thread.join(5)
    assert len(requests) == served


def test_a_portal_cannot_show_the_right_certificate(town: Town) -> None:
    town.portal("wifi", "page")
    assert fetch(town, URL).startswith("200 b'<html>")
    assert fetch(town, f"https://{HOST}") == "SSLCertVerificationError"
    town.portal("wifi", None)
    town.front("busy")
    assert fetch(town, f"https://{HOST}").startswith("503")


def test_names(town: Town) -> None:
    town.front("busy")
    assert fetch(town, URL).startswith("503")
    town.resolver("wifi", "wrong", address="10.82.1.1")
    assert fetch(town, URL) == "ConnectionRefusedError"
    town.resolver("wifi", "silent")
    assert fetch(town, URL, 5).startswith("503")  # the other network's name server knows
    town.resolver("gsm", None)
    assert fetch(town, URL) == "gaierror"
    town.resolver("gsm")
    town.resolver("wifi", None)
    assert fetch(town, URL).startswith("503")


def test_what_a_dead_run_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from firmware_sim.net.namespace import Namespace\n"
        "box = Namespace(1, 'box')\n"
        "box.resolve_by(['10.82.1.1'])\n"
        "print(box.name, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    name = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip()
    assert (NETNS / name).exists()
    sleeper = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"])
    mine = Namespace(99, "box")
    try:
        sweep()
        assert not (NETNS / name).exists()
        assert not (ETC / name).exists()
        assert (NETNS / mine.name).exists()
        assert sleeper.wait(10) < 0
    finally:
        mine.remove()


def _flags(town: Town, device: str) -> set[str]:
    shown = subprocess.run(
        ["ip", "-n", town.box.name, "-json", "link", "show", "dev", device],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return set(json.loads(shown.stdout)[0]["flags"]) if shown.returncode == 0 else set()


def _until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
