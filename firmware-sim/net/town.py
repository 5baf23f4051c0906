"""A town with one box, two ways out and one server, on one machine.

::

    box                      WiFi network                    server
    wifi0 10.82.1.2 ==TUN== box0 10.82.1.1 --veth--------- 10.82.100.10
    gsm0  10.82.2.2 ==TUN== box0 10.82.2.1 --veth--------- (its own address, behind both)
                             GSM network

Each network has a name server at its router (10.82.1.1, 10.82.2.1) that knows ``HOST``. Before the server stands a
reverse proxy at the ports 80 and 443, which hands on to ``INNER`` in the server's namespace, or does not.
"""

from __future__ import annotations

import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from firmware_sim.net import certificates
from firmware_sim.net.dns import Mode
from firmware_sim.net.link import EmulatedLink
from firmware_sim.net.middlebox import Behaviour
from firmware_sim.net.namespace import Namespace, sweep
from firmware_sim.net.service import Service

HOST = "city.test"
SERVER = "10.82.100.10"
INNER = "127.0.0.1:9090"
URL = f"http://{HOST}"
PORTS = "80,443"
_serials = itertools.count(1)

Network = Literal["wifi", "gsm"]
METRICS = {"wifi": 100, "gsm": 700}


class Town:
    """Namespaces, links and services; a context manager. Raises SimulatorError where something cannot be laid.

    ``box`` and ``server`` are namespaces, and so is each of ``networks``; ``wifi`` and ``gsm`` are the links.
    ``ca_file`` is the authority to trust for ``https://city.test``.
    """

    def __init__(self) -> None:
        sweep()
        self._services: dict[str, Service] = {}
        with ExitStack() as self._open:  # what fails half-way takes down what stands
            self._lay(next(_serials))
            self._open = self._open.pop_all()

    def front(self, behaviour: Behaviour | None = "pass", seconds: float = 3.0) -> None:
        """The reverse proxy before the server from now on; a change cuts what is open. None: nobody listens there."""
        options = ["--upstream", INNER, "--certificate", str(self._certificate), "--seconds", str(seconds)]
        self._serve("front", self.server, "middlebox", [PORTS, behaviour, *options] if behaviour else None)

    def resolver(self, network: Network, mode: Mode | None = "good", address: str = SERVER) -> None:
        """How a network's name server answers from now on. None: nobody listens there."""
        at = self._links[network].far
        self._serve(f"dns {network}", self.networks[network], "dns", [at, mode, f"{HOST}={address}"] if mode else None)

    def portal(self, network: Network, behaviour: Behaviour | None) -> None:
        """The network answers in the server's place, with a certificate that nobody trusts; None: it lets through."""
        namespace = self.networks[network]
        name = f"portal {network}"
        if (name in self._services) != (behaviour is not None):
            namespace.ip(f"route {'add' if behaviour else 'del'} local {SERVER}/32 dev lo table local")
        options = ["--certificate", str(self._wrong_certificate)]
        self._serve(name, namespace, "middlebox", [PORTS, behaviour, *options] if behaviour else None)

    def close(self) -> None:
        """Take everything down; safe to call twice."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lay(self, serial: int) -> None:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="lamppost-town-")))
        self.ca_file, self._certificate = certificates.make(self.folder, "city", HOST)
        _, self._wrong_certificate = certificates.make(self.folder, "portal", "portal.test")
        self.box = self._namespace(serial, "box")
        self.server = self._namespace(serial, "server")
        self.server.ip(f"addr add {SERVER}/32 dev lo")
        self.networks = {name: self._network(serial, name, n) for n, name in enumerate(METRICS, 1)}
        self.box.resolve_by([f"10.82.{n}.1" for n in (1, 2)])
        self._links = {name: self._link(name, n) for n, name in enumerate(METRICS, 1)}
        self.wifi, self.gsm = self._links.values()
        self._open.callback(self._stop)
        self.front()
        self.resolver("wifi")
        self.resolver("gsm")

    def _stop(self) -> None:
        for service in self._services.values():
            service.stop()
        self._services.clear()

    def _namespace(self, serial: int, role: str) -> Namespace:
        namespace = Namespace(serial, role)
        self._open.callback(namespace.remove)
        return namespace

    def _network(self, serial: int, name: str, number: int) -> Namespace:
        network = self._namespace(serial, name)
        network.ip(f"link add city type veth peer name {name} netns {self.server.name}")
        network.ip(f"addr add 10.82.10{number}.2/30 dev city", "link set city up")
        self.server.ip(f"addr add 10.82.10{number}.1/30 dev {name}", f"link set {name} up")
        network.ip(f"route add {SERVER}/32 via 10.82.10{number}.1")
        self.server.ip(f"route add 10.82.{number}.0/24 via 10.82.10{number}.2")
        return network

    def _link(self, name: str, number: int) -> EmulatedLink:
        near, far = f"10.82.{number}.2", f"10.82.{number}.1"
        link = EmulatedLink(self.box, self.networks[name], f"{name}0", near, far, METRICS[name])
        self._open.callback(link.unplug)
        return link

    def _serve(self, name: str, namespace: Namespace, module: str, arguments: list[str] | None) -> None:
        running = self._services.get(name)
        if running is not None and running.arguments == arguments:
            return
        if running is not None:
            self._services.pop(name).stop()
        if arguments is not None:
            self._services[name] = Service(namespace, module, arguments)
