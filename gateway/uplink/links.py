"""A link as measured: up or down since when, how fast the last exchange was, what passed. Says each change once."""

from __future__ import annotations

import logging

from gateway.errors import LamppostError
from gateway.model import Link, LinkState

LOG = logging.getLogger("lamppost.uplink")


class LinkMeter:
    """Measures one link. A link is down until an exchange went well."""

    def __init__(self, link: Link, now_mono_ns: int) -> None:
        self._link = link
        self._up = False
        self._error = ""
        self._code = ""
        self._rtt_s: float | None = None
        self._bytes = (0, 0)
        self._since_ns = now_mono_ns

    def state(self) -> LinkState:
        """The state after the last exchange."""
        return LinkState(self._link, self._up, self._rtt_s, *self._bytes, self._since_ns, self._error)

    def worked(self, rtt_s: float, now_mono_ns: int) -> None:
        """An exchange went well."""
        if not self._up:
            text = "link %s is up again" if self._code else "link %s is up"
            LOG.info(text, self._link.name, extra={"link": self._link.name})
            self._up, self._since_ns = True, now_mono_ns
        self._rtt_s, self._error, self._code = rtt_s, "", ""

    def failed(self, error: LamppostError, now_mono_ns: int) -> None:
        """An exchange failed; said once, and again when the kind of failure is another."""
        if self._up:
            self._up, self._since_ns = False, now_mono_ns
        if self._code != error.code:
            extra = {"link": self._link.name, "code": error.code, "fix": error.fix}
            LOG.warning("link %s is down: %s. %s", self._link.name, error.cause, error.fix, extra=extra)
        self._error, self._code = error.cause, error.code

    def moved(self, sent: int, received: int) -> None:
        """How many bytes passed since the start."""
        self._bytes = (sent, received)
