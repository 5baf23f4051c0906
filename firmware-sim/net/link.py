"""One emulated link as a test holds it: how good it is, and the ways in which it fails."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

from firmware_sim.net.namespace import Namespace
from firmware_sim.net.way import Counts
from firmware_sim.process import SimulatorError

ANSWER_S = 20.0
STOP_S = 5.0
FAR_DEVICE = "box0"

Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts of both directions; ``up`` is what the box sends."""

    up: Counts
    down: Counts


class EmulatedLink:
    """Between the box and the network of its access point or its operator. Orders raise SimulatorError.

    ``device`` is the interface in the box, with the address ``near``; the router behind it has ``far``. ``metric`` is
    that of its default route: the smaller one goes first.
    """

    def __init__(self, box: Namespace, network: Namespace, device: str, near: str, far: str, metric: int) -> None:
        self.device, self.near, self.far, self.metric = device, near, far, metric
        self._box, self._network = box, network
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self.plug()

    def set(self, way: Direction = "both", **impairments: float | bool) -> None:
        """Change some of ``way.Impairments``; those that are not named stay."""
        self._order(do="set", way=way, impairments=impairments)

    def stall(self, on: bool = True, way: Direction = "both") -> None:
        """Packets vanish while everything says that it is up; in one direction alone the link is half-open."""
        self.set(way, stalled=on)

    def carrier(self, on: bool) -> None:
        """The interface stays up with its address and its routes, but has nobody at the other end, and says so."""
        self._order(do="carrier", on=int(on))

    def down(self) -> None:
        """The interface is switched off; its routes are gone."""
        self._box.ip(f"link set {self.device} down")

    def up(self) -> None:
        """It is switched on again, with its default route."""
        self._box.ip(f"link set {self.device} up", self._route())

    def unplug(self) -> None:
        """The interface vanishes, as that of a USB modem does; both devices of the emulator go. Safe to call twice."""
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._process is not None:
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def plug(self) -> None:
        """A new interface of the same name and address; impairments and counts begin anew."""
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_S)
        with theirs:
            ends = (self._box.name, self.device, self._network.name, FAR_DEVICE)
            command = [sys.executable, "-m", "firmware_sim.net.emulator", str(theirs.fileno()), *ends]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._orders = ours
        self._answer()
        self._network.ip(f"addr add {self.far}/24 dev {FAR_DEVICE}", f"link set {FAR_DEVICE} up")
        self._box.ip(f"addr add {self.near}/24 dev {self.device}", f"link set {self.device} up", self._route())

    def traffic(self) -> Traffic:
        """What has gone through since it was plugged in, headers of IP included."""
        answer = self._order(do="counts")
        return Traffic(Counts(**answer["up"]), Counts(**answer["down"]))

    def _route(self) -> str:
        return f"route add default via {self.far} dev {self.device} metric {self.metric}"

    def _order(self, **order: Any) -> dict[str, Any]:
        if self._orders is None:
            raise SimulatorError(f"{self.device} is not plugged in")
        try:
            self._orders.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise SimulatorError(f"the emulator of {self.device} does not answer: {error}") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._orders is not None
        text = b""
        while not text.endswith(b"\n"):
            try:
                data = self._orders.recv(4096)
            except OSError as error:
                raise SimulatorError(f"the emulator of {self.device} does not answer: {error}") from error
            if not data:
                raise SimulatorError(f"the emulator of {self.device} has ended")
            text += data
        answer: dict[str, Any] = json.loads(text)
        if not answer.pop("ok"):
            raise SimulatorError(str(answer["error"]))
        return answer
