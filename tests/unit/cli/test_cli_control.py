"""The client of the control socket against a server that frames its answers badly; the daemon's own: elsewhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli import control
from gateway.cli.control import ControlClient, NoDaemonError
from gateway.errors import ControlError
from tests.unit.cli.command import LAMPPOST, Run, environment

Behaviour = Callable[[socket.socket, dict[str, object]], None]
STATUS = {
    "role": "edge",
    "version": "0.1.0",
    "site": "box",
    "summary": "meter is down. Check power.",
    "ok": False,
    "uptime_s": 12.0,
    "clock": {"source": "kernel", "boot_id": "x"},
    "devices": {
        "meter": {
            "state": "down", "bus": "line", "template": "t", "place": "Board\x1b[31m", "last_s": None, "made": 0,
            "error": {"code": "driver.timeout", "cause": "no answer", "fix": "Check power."}, "failed": 3, "outages": 1,
            "skipped": 0, "late_ms_max": 1.5,
        },
        "tag": {"state": "up", "bus": "air", "template": "t", "place": "", "last_s": 1.0, "made": 7, "error": None},
    },
    "outbox": {"depth": 3, "age_s": 2.0, "bytes": 4096, "dropped": {"full": 2}, "made": {"tag": 7}, "crash_cost": 0},
    "link": {"name": "default", "up": True, "rtt_s": 0.01, "error": ""},
    "uplink": {"live_age_s": 0.4, "backlog": True, "drain_per_s": 1200.5},
    "server": None,
}  # fmt: skip
READINGS = [
    {
        "device": "tag", "quantity": "temperature", "value": 21.3, "unit": "degC", "observed_ns": 1, "quality": "good",
        "reason": "", "age_s": 0.5,
    }
]  # fmt: skip


@contextmanager
def serving(path: Path, behave: Behaviour) -> Iterator[None]:
    """Answer each connection's one request as ``behave`` says."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    request = connection.makefile("rb").readline()
                    try:
                        behave(connection, json.loads(request))
                    except OSError:
                        continue  # the client had enough

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def sends(*chunks: bytes, gap_s: float = 0.0) -> Behaviour:
    def behave(connection: socket.socket, _request: dict[str, object]) -> None:
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(gap_s)

    return behave


def daemon(connection: socket.socket, request: dict[str, object]) -> None:
    results: dict[str, object] = {"status": STATUS, "readings": READINGS, "read": READINGS}
    if request["do"] in results:
        connection.sendall(
            json.dumps({"id": request["id"], "ok": True, "result": results[str(request["do"])]}).encode() + b"\n"
        )
    else:
        for item in READINGS * 3:
            connection.sendall(json.dumps({"id": request["id"], "ok": True, "item": item}).encode() + b"\n")


def test_an_answer_in_pieces(tmp_path: Path) -> None:
    with serving(tmp_path / "s", sends(b'{"id":1,"ok"', b':true,"result":', b"[1]}", b"\n", gap_s=0.02)):
        assert ControlClient(tmp_path / "s").ask("status") == [1]


def test_items_in_one_piece(tmp_path: Path) -> None:
    line = b'{"id":1,"ok":true,"item":%d}\n'
    with serving(tmp_path / "s", sends(line % 1 + line % 2 + line % 3)):
        assert list(ControlClient(tmp_path / "s").stream("watch")) == [1, 2, 3]


def test_the_request(tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []

    def note(connection: socket.socket, request: dict[str, object]) -> None:
        seen.append(request)
        connection.sendall(b'{"id":1,"ok":true,"result":null}\n')

    with serving(tmp_path / "s", note):
        assert ControlClient(tmp_path / "s").ask("read", device="meter") is None
    assert seen == [{"v": 1, "id": 1, "do": "read", "args": {"device": "meter"}}]


def test_the_daemons_error_is_told_as_it_says(tmp_path: Path) -> None:
    with serving(
        tmp_path / "s", sends(b'{"id":1,"ok":false,"error":{"code":"driver.timeout","cause":"why","fix":"do"}}\n')
    ):
        with pytest.raises(ControlError) as caught:
            ControlClient(tmp_path / "s").ask("read", device="x")
        assert (caught.value.code, caught.value.cause, caught.value.fix) == ("driver.timeout", "why", "do")
        with pytest.raises(ControlError):
            list(ControlClient(tmp_path / "s").stream("watch"))


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"ok":1}\n',
        b'{"ok":false}\n',
        b'{"ok":true}\n',
        b"\xff\xfe\n",
        b'{"ok":tr',
        b"\n",
        b"[" * 99999 + b"\n",
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes) -> None:
    with serving(tmp_path / "s", sends(answer)), pytest.raises(ControlError):
        ControlClient(tmp_path / "s").ask("status")


def test_an_answer_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LINE_MAX", 100_000)
    with serving(tmp_path / "s", sends(*[b"x" * 50_000] * 10)), pytest.raises(ControlError) as caught:
        ControlClient(tmp_path / "s").ask("status")
    assert caught.value.code == "control.bad-answer"


def test_no_answer(tmp_path: Path) -> None:
    with serving(tmp_path / "s", sends(b"", gap_s=1.0)), pytest.raises(ControlError) as caught:
        ControlClient(tmp_path / "s").ask("status", timeout_s=0.2)
    assert caught.value.code == "control.timeout"


def test_a_stream_ends_after_its_time(tmp_path: Path) -> None:
    line = b'{"id":1,"ok":true,"item":1}\n'
    with serving(tmp_path / "s", sends(line, line, b"", gap_s=0.5)):
        assert list(ControlClient(tmp_path / "s").stream("watch", seconds=0.7)) == [1, 1]


def test_nobody_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "left"))
    for path in (tmp_path / "missing", tmp_path / "left", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NoDaemonError):
            ControlClient(path).ask("status")
    with pytest.raises(ControlError):
        ControlClient(tmp_path / ("long" * 50)).ask("status")
    with pytest.raises(ControlError):
        ControlClient(Path("a\0b")).ask("status")


def test_status(run: Run, tmp_path: Path) -> None:
    with serving(tmp_path / "lamppost.sock", daemon):
        done = run("status", "--data", tmp_path)
        as_json = run("status", "--data", tmp_path, "--json")
    assert done.returncode == as_json.returncode == 1
    assert done.stdout.splitlines()[0] == "meter is down. Check power."
    assert "\x1b" not in done.stdout
    assert "outbox: 3 readings wait" in done.stdout
    assert "uplink: new values were acknowledged 0.4 s ago; the backlog goes at 1200.5 readings/s" in done.stdout
    assert json.loads(as_json.stdout) == STATUS


def test_read_and_watch(run: Run, tmp_path: Path) -> None:
    with serving(tmp_path / "lamppost.sock", daemon):
        once = run("read", "tag", "--data", tmp_path)
        as_json = run("read", "tag", "--data", tmp_path, "--json")
        watched = run("read", "tag", "--data", tmp_path, "--watch", "--json")
    assert "temperature" in once.stdout
    assert json.loads(as_json.stdout) == READINGS
    assert [json.loads(line) for line in watched.stdout.splitlines()] == READINGS * 3


def test_top_without_a_terminal_prints_once(run: Run, tmp_path: Path) -> None:
    with serving(tmp_path / "lamppost.sock", daemon):
        done = run("top", "--data", tmp_path)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["meter", "device", "meter", "tag"]


def test_top_on_a_terminal_ends_with_q(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    variables = environment(tmp_path, TERM="xterm", COLUMNS="120", LINES="30")
    command = [LAMPPOST, "top", "--data", str(tmp_path), "--interval", "0.2"]
    with serving(tmp_path / "lamppost.sock", daemon):
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
        os.close(theirs)
        shown = b""
        while b"q ends it" not in shown:
            shown += os.read(ours, 65536)
        os.write(ours, b"q")
        code = None
        while code is None:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # it has ended
                code = process.wait(10)
    os.close(ours)
    assert code == 0
    assert b"temperature" in shown
    assert b"Traceback" not in shown


def test_commands_without_a_daemon(run: Run, tmp_path: Path) -> None:
    for arguments in (("status",), ("top",), ("read", "x"), ("scan", "x"), ("capture", "x")):
        done = run(*arguments, "--data", tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("error[control.no-daemon]")
        assert "fix: " in done.stderr
