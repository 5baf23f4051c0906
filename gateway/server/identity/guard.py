"""Who may: one bearer token for the server, a cookie for its pages, host names where there is no token.

Without the token only health and the empty page, which asks for it, are given.
The cookie is a keyed hash of the token, not the token, and opens reading only: no page of another site can write with
it. Without a token (loopback only) requests must name the server by a loopback name: a page of another site whose
name was made to point at 127.0.0.1 is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from gateway.server.errors import Forbidden, ServerError, Unauthorized
from gateway.server.wire import Request, Response, answer

COOKIE = "lamppost"
OPEN_PATHS = frozenset({"/healthz"})
FORWARDED = "/api/forwarded/"  # notifications of other brokers: the last part of the address is the secret
SAFE_METHODS = frozenset({"GET", "HEAD"})
TOKEN_CHARS_MIN = 16
TOKEN_BYTES_MAX = 4096
COOKIE_AGE_S = 30 * 24 * 3600


class Guard:
    """Checks requests. ``hosts``: further names of this server, where there is no token.

    ``invited``: whether the last part of the address that another broker notifies is one that it was given.
    """

    def __init__(
        self,
        token: str | None,
        *,
        host: str,
        secure: bool,
        hosts: tuple[str, ...] = (),
        invited: Callable[[str], bool] = lambda secret: False,
    ) -> None:
        self._invited = invited
        self._token = None if token is None else token.encode()
        self._session = _session(token) if token is not None else ""
        self._secure = secure
        self._hosts = {host.lower(), *(name.lower() for name in hosts)}

    def check(self, request: Request) -> None:
        """Raises Unauthorized, Forbidden."""
        if request.path in OPEN_PATHS:
            return
        if self._token is not None and request.method in SAFE_METHODS and _is_page(request.path):
            return
        if self._token is None:
            self._check_host(request)
            return
        called_back = request.method == "POST" and request.path.startswith(FORWARDED)
        if called_back and self._invited(request.path.removeprefix(FORWARDED)):
            return
        scheme, _, given = (request.header(b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return
        if not self._has_session(request):
            raise Unauthorized("no valid token came with the request")
        if request.method not in SAFE_METHODS:
            raise Forbidden("the cookie of the page opens reading only", fix="Send `Authorization: Bearer <token>`.")

    def login(self, request: Request) -> Response:
        """GET /login?token=...: exchanges the token for the cookie and goes to the page."""
        given = request.query({"token"}).get("token", "")
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token):
            raise Unauthorized("that is not the token")
        headers = {"Location": "/", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if self._token is not None:
            flags = "; Secure" if self._secure else ""
            headers["Set-Cookie"] = (
                f"{COOKIE}={self._session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_AGE_S}{flags}"
            )
        return answer(303, headers=headers)

    def _has_session(self, request: Request) -> bool:
        try:
            cookies = SimpleCookie(request.header(b"cookie") or "")
        except CookieError:
            return False
        found = cookies.get(COOKIE)
        return found is not None and hmac.compare_digest(found.value.encode(), self._session.encode())

    def _check_host(self, request: Request) -> None:
        name = host_name(request.header(b"host") or "")
        if name not in self._hosts and not is_loopback(name):
            raise Forbidden(
                f"this server does not answer to the name {name!r}",
                fix="Call it by its address, or give it a token and TLS.",
            )


def _is_page(path: str) -> bool:
    """The page without any data: it asks for the token by itself."""
    return path == "/" or path.startswith("/static/")


def _session(token: str) -> str:
    return hmac.new(token.encode(), b"lamppost page session 1", hashlib.sha256).hexdigest()


def host_name(authority: str) -> str:
    """The host of a Host header, without port and brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.rpartition(":")[0].lower() if ":" in authority else authority.lower()


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    if host in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listen(host: str, *, secure: bool, token: str | None) -> None:
    """Beyond loopback only with TLS and a token. Raises ServerError (``server.insecure-listen``)."""
    if is_loopback(host) or (secure and token):
        return
    missing = " and ".join(name for name, there in (("TLS", secure), ("a token", token)) if not there)
    raise ServerError(
        f"the server would be reachable from other machines at {host} without {missing}",
        code="server.insecure-listen",
        fix="Set server.tls (certificate, key) and server.token_file, or listen on 127.0.0.1.",
    )


def read_token(path: Path) -> str:
    """The token in a file: its first line. Raises ServerError."""
    try:
        with path.open(encoding="ascii") as file:
            token = file.read(TOKEN_BYTES_MAX).strip()
    except (OSError, ValueError) as error:
        raise ServerError(
            f"the token file {path} cannot be read: {error}",
            code="server.token-unreadable",
            fix="Check server.token_file and its permissions.",
        ) from error
    if len(token) < TOKEN_CHARS_MIN or not all("!" <= c <= "~" for c in token):
        raise ServerError(
            f"the token in {path} is too weak: it needs {TOKEN_CHARS_MIN} visible ASCII characters or more",
            code="server.weak-token",
            fix=f"Make one: `head -c 24 /dev/urandom | base64 > {path}`.",
        )
    return token
