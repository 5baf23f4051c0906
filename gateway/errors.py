"""Errors that a user may see: a stable code, the cause, what to do; the same text in CLI, journal and API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a user's file: 1-based line and column; ``text`` is the line itself."""

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class LamppostError(Exception):
    """Base of all errors shown to a user.

    ``code`` is stable and documented in docs/reference/errors.md; ``cause`` says what happened, ``fix`` what to do.
    """

    code: str = "lamppost.error"
    fix: str = "Run `lamppost doctor`."

    def __init__(self, cause: str, *, code: str | None = None, fix: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.code = code or type(self).code
        self.fix = fix or type(self).fix


class OutboxError(LamppostError):
    """The outbox cannot be opened, read or written."""

    code = "outbox.failed"
    fix = "Check free space and permissions of storage.path; run `lamppost doctor`."


class UplinkError(LamppostError):
    """The server cannot be reached or refuses what is sent."""

    code = "uplink.failed"
    fix = "Check uplink.url, the token and the network; run `lamppost doctor`."


class ControlError(LamppostError):
    """No daemon answers at the control socket, or it refuses."""

    code = "control.failed"
    fix = "Is the daemon running? Start it with `lamppost run`, or give --data."


class UsageError(LamppostError):
    """The command was called with something that it cannot work with."""

    code = "usage"
    fix = "See `lamppost --help`."
