"""The client of the control socket: what a command asks the daemon, in JSON lines (gateway/edge/control.py serves).

Everything is bounded: the time to connect, to the answer, and the length of a line.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.errors import ControlError

VERSION = 1
SOCKET_NAME = "lamppost.sock"
CONNECT_S = 2.0
ANSWER_S = 10.0
LINE_MAX = 8 * 2**20
CHUNK = 64 * 1024


class NoDaemonError(ControlError):
    """Nobody listens at the control socket: a command may then do its work itself."""

    code = "control.no-daemon"


class ControlClient:
    """Asks the daemon whose control socket is at ``path``; one connection a request. Raises ControlError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, do: str, *, timeout_s: float = ANSWER_S, **args: object) -> Any:
        """The result of a request. Raises NoDaemonError, or ControlError with the code, cause and fix of the daemon."""
        for answer in self._exchange(do, args, time.monotonic() + timeout_s):
            if "result" in answer:
                return answer["result"]
            raise ControlError(f"the answer to {do!r} holds no result", code="control.bad-answer", fix=_OTHER_VERSION)
        raise ControlError(f"no answer to {do!r} within {timeout_s:g} s", code="control.timeout")

    def stream(self, do: str, *, seconds: float | None = None, **args: object) -> Iterator[Any]:
        """The items of a request that streams, until the daemon ends it or ``seconds`` have passed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        for answer in self._exchange(do, args, deadline):
            if "item" in answer:
                yield answer["item"]

    def _exchange(self, do: str, args: dict[str, object], deadline: float | None) -> Iterator[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            self._connect(connection)
            try:
                connection.sendall(json.dumps({"v": VERSION, "id": 1, "do": do, "args": args}).encode() + b"\n")
                for line in _lines(connection, deadline):
                    yield _answer(line)
            except TimeoutError:
                return
            except OSError as error:
                raise ControlError(f"the daemon at {self.path} went away: {error.strerror or error}") from error

    def _connect(self, connection: socket.socket) -> None:
        connection.settimeout(CONNECT_S)
        try:
            connection.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemonError(f"no daemon answers at {self.path}") from error
        except PermissionError as error:
            fix = "Join the group of the file (then log in again), or use sudo."
            raise ControlError(f"{self.path} may not be used", code="control.no-permission", fix=fix) from error
        except (OSError, ValueError) as error:  # a path too long for a socket, or with a zero byte
            raise ControlError(f"{self.path} cannot be used: {error}") from error


def _lines(connection: socket.socket, deadline: float | None) -> Iterator[bytes]:
    """Lines as they come. Raises TimeoutError at the deadline; ends where the peer ends."""
    buffer = bytearray()
    while True:
        end = buffer.find(b"\n")
        if end >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
            continue
        if len(buffer) > LINE_MAX:
            raise ControlError("an answer without end", code="control.bad-answer", fix=_OTHER_VERSION)
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        chunk = connection.recv(CHUNK)
        if not chunk:
            if not buffer:
                return
            raise ControlError("the daemon went away in the middle of an answer")
        buffer += chunk


def _answer(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"not an answer: {error}", code="control.bad-answer", fix=_OTHER_VERSION) from error
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise ControlError("not an answer", code="control.bad-answer", fix=_OTHER_VERSION)
    if not answer["ok"]:
        refusal = answer.get("error")
        known: dict[str, Any] = refusal if isinstance(refusal, dict) else {}
        cause = str(known.get("cause", "the daemon refuses and does not say why"))
        raise ControlError(cause, code=known.get("code"), fix=known.get("fix"))
    return answer


_OTHER_VERSION = "Use the command of the same version as the daemon."
