"""``lamppost link`` for people; beside a daemon it is tested in tests/e2e/test_commands.py."""

from __future__ import annotations

from gateway.cli.link import KEYS, lines

WIFI = dict.fromkeys(KEYS) | {
    "name": "wifi",
    "used": False,
    "state": "waits",
    "why": "works again; used in 12 s",
    "interface": "wlan0",
    "bytes": 1_250_000_000,
    "rtt_s": 0.0314,
    "loss": 0.25,
    "signal": 0.8,
    "error": "the server does not answer in time\x1b[31m",
}
GSM = dict.fromkeys(KEYS) | {
    "name": "gsm",
    "used": True,
    "state": "used",
    "why": "the first that works",
    "interface": "wwan0",
    "last_ack_s": 3.25,
    "operator": "Telia",
    "technology": "lte",
    "roaming": True,
    "bytes": 123_400_000,
    "budget": 500_000_000,
}


def test_the_table() -> None:
    text = "\n".join(lines([WIFI, GSM]))
    assert text.startswith("gsm is used: the first that works\n")
    wifi, gsm = (line for line in text.splitlines() if line.startswith(("wifi  ", "gsm   ")))
    for cell in ("waits", "31 ms", "25 %", "80 %", "1250.0 MB", "works again; used in 12 s"):
        assert cell in wifi
    for cell in ("used", "Telia lte (roaming)", "3.2 s", "123.4 of 500 MB"):
        assert cell in gsm
    assert "wifi: the server does not answer in time\ufffd[31m" in text


def test_no_link() -> None:
    assert next(lines([WIFI])) == "no link can be used"
    assert next(lines([])) == "no link can be used"
