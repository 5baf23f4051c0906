"""The static parts of the pages, read once into memory: what is not in the table does not exist."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}
_TEXT = ("text/", "application/", "image/svg")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. ``packed`` is its gzip form, ``etag`` a quoted strong validator of the content."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """All files below ``static`` by relative path (``console.css``)."""
    found: dict[str, Asset] = {}
    _walk(files(__package__).joinpath("static"), "", found)
    return found


def _walk(folder: Traversable, prefix: str, found: dict[str, Asset]) -> None:
    for item in folder.iterdir():
        if item.is_dir():
            _walk(item, f"{prefix}{item.name}/", found)
        else:
            found[prefix + item.name] = _asset(item.name, item.read_bytes())


def _asset(name: str, body: bytes) -> Asset:
    suffix = name[name.rfind(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if media_type.startswith(_TEXT):
        media_type += "; charset=utf-8"
    digest = hashlib.sha256(body).hexdigest()[:20]
    return Asset(body, gzip.compress(body, 9, mtime=0), media_type, f'"{digest}"')
