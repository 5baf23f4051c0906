"""OSCORE (RFC 8613) for simulated CoAP sensors, on aiocoap's own security contexts kept in a folder.

aiocoap's client and server of OSCORE need an EDHOC library; these do without key exchange. They are written apart from
those of the gateway, so that one proves the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiocoap import BAD_REQUEST, UNAUTHORIZED, Message, error, interfaces, oscore
from aiocoap.numbers.constants import MAX_REGULAR_BLOCK_SIZE_EXP
from aiocoap.pipe import IterablePipe, Pipe, error_to_message, run_driving_pipe

Context = oscore.FilesystemSecurityContext


def context(folder: Path, *, secret: str, salt: str, sender_id: str, recipient_id: str) -> Any:
    """A security context that keeps its state in the folder; values are hexadecimal. Only one may be open at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"secret_hex": secret, "salt_hex": salt, "sender-id_hex": sender_id, "recipient-id_hex": recipient_id}
    (folder / "secret.json").write_text(json.dumps(settings), encoding="utf-8")
    return Context(str(folder))


class Peer(interfaces.EndpointAddress):  # type: ignore[misc]
    """The other side of a protected exchange, as resources and block-wise transfers see it."""

    maximum_block_size_exp = MAX_REGULAR_BLOCK_SIZE_EXP
    is_multicast = is_multicast_locally = False

    def __init__(self, keys: Any, below: Any) -> None:
        self.keys, self.below = keys, below

    hostinfo = property(lambda self: self.below.hostinfo)
    hostinfo_local = property(lambda self: self.below.hostinfo_local)
    uri_base = property(lambda self: self.below.uri_base)
    uri_base_local = property(lambda self: self.below.uri_base_local)
    scheme = property(lambda self: self.below.scheme)
    blockwise_key = property(lambda self: (self.below.blockwise_key, self.keys.recipient_id))


class ProtectedSite(interfaces.Resource):  # type: ignore[misc]
    """A site that answers protected requests only."""

    def __init__(self, site: Any, keys: Any) -> None:
        super().__init__()
        self._site, self._keys = site, keys

    async def render(self, request: Any) -> Any:
        """Not used: everything goes by ``render_to_pipe``."""
        raise error.NotFound

    async def needs_blockwise_assembly(self, request: Any) -> bool:
        """Not used: everything goes by ``render_to_pipe``."""
        return False

    async def render_to_pipe(self, pipe: Any) -> None:
        """Open the request, have it answered, protect the answers."""
        keys = self._keys
        try:
            stated = oscore.verify_start(pipe.request)
            if stated.get(oscore.COSE_KID) != keys.recipient_id:
                raise error.Unauthorized("Security context not found")
            request, request_id = keys.unprotect(pipe.request)
        except oscore.NotAProtectedMessage:
            raise error.Unauthorized("OSCORE only") from None
        except oscore.ReplayErrorWithEcho:
            raise
        except oscore.ReplayError:
            pipe.add_response(Message(code=UNAUTHORIZED, payload=b"Replay detected"), is_last=True)
            return
        except oscore.ProtectionInvalid:
            pipe.add_response(Message(code=BAD_REQUEST, payload=b"Decryption failed"), is_last=True)
            return
        request.remote = Peer(keys, pipe.request.remote)
        inner = IterablePipe(request)
        run_driving_pipe(error_to_message(inner, _SILENT), self._site.render_to_pipe(inner))
        async for event in inner:
            answer, _ = keys.protect(event.message, request_id)
            if event.message.opt.observe is not None:
                answer.opt.observe = keys.sender_sequence_number & 0xFFFFFF
            pipe.add_response(answer, is_last=event.is_last)
            if event.is_last:
                return


class ProtectedRequests(interfaces.RequestProvider):  # type: ignore[misc]
    """Put before the transports of a client context: all its requests are protected."""

    def __init__(self, below: Any, keys: Any, seen: Callable[[Any], None] = lambda _message: None) -> None:
        """``seen`` gets every protected request before it goes out."""
        self._below, self._keys, self._seen = below, keys, seen

    async def fill_or_recognize_remote(self, message: Any) -> bool:
        """All but what is protected already."""
        if message.opt.oscore is not None:
            return False
        if not isinstance(message.remote, Peer):
            await self._below.fill_or_recognize_remote(message)
            message.remote = Peer(self._keys, message.remote)
        return True

    def request(self, pipe: Any) -> None:
        """Protect and send; what comes back is opened."""
        self._send(pipe, pipe.request)

    def _send(self, pipe: Any, request: Any) -> None:
        message, request_id = self._keys.protect(request)
        message.remote = request.remote.below
        self._seen(message)
        wire = Pipe(message, _SILENT)

        def heard(event: Any) -> bool:
            if event.exception is not None:
                pipe.add_exception(event.exception)
                return False
            answer = event.message
            if answer.opt.oscore is not None:
                try:
                    answer, _ = self._keys.unprotect(answer, request_id)
                except oscore.ProtectionInvalid as failed:
                    pipe.add_exception(failed)
                    return False
                if answer.code == UNAUTHORIZED and answer.opt.echo and not request.opt.echo:
                    self._send(pipe, request.copy(echo=answer.opt.echo, remote=request.remote))
                    return False
            answer.remote = request.remote
            pipe.add_response(answer, is_last=event.is_last)
            return not event.is_last

        wire.on_event(heard)
        self._below.request(wire)

    async def shutdown(self) -> None:
        """Nothing of its own to end."""


class _Silence:
    """A log for what aiocoap says of single messages."""

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


_SILENT: Any = _Silence()
