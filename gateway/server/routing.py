"""The dispatcher of the hot routes: a tree of path segments, a handler per method.

Paths are split before they are percent-decoded, so an id may hold an encoded slash. A trailing slash is ignored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from gateway.server.wire import Request, Response

Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """``path`` may have segments in braces: ``/entities/{id}``."""

    method: str
    path: str
    handler: Handler


class _Node:
    __slots__ = ("children", "handlers", "name", "wild")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.wild: _Node | None = None
        self.name = ""
        self.handlers: dict[str, Handler] = {}


class Found(NamedTuple):
    """``handler`` None: the path is known, the method is not; ``methods`` are the known ones, HEAD and OPTIONS too."""

    handler: Handler | None
    params: dict[str, str]
    methods: tuple[str, ...]


class Router:
    """Routes of a server, fixed when it starts."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def find(self, method: str, raw_path: str) -> Found | None:
        """The handler of a path that is still percent-encoded; None for an unknown path. HEAD is answered like GET."""
        node, params = self._root, {}
        for segment in raw_path.rstrip("/").split("/")[1:]:
            child = node.children.get(segment)
            if child is None:
                child = node.wild
                if child is None or not segment:
                    return None
                params[child.name] = unquote(segment)
            node = child
        if not node.handlers:
            return None
        handler = node.handlers.get("GET" if method == "HEAD" else method)
        also = ("HEAD", "OPTIONS") if "GET" in node.handlers else ("OPTIONS",)
        return Found(handler, params, (*node.handlers, *also))

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.path.split("/")[1:]:
            if segment.startswith("{"):
                node.wild = node.wild or _Node()
                node = node.wild
                node.name = segment[1:-1]
            else:
                node = node.children.setdefault(segment, _Node())
        node.handlers[route.method] = route.handler
