"""Finding contexts: those compiled already, documents known offline, then a bounded download."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import urljoin

import orjson

from gateway.server.contexts.compiled import CORE_URL, Context, compile_context, is_core
from gateway.server.errors import BadRequestData, LdContextNotAvailable

Fetch = Callable[[str], Awaitable[bytes]]
COMPILED_MAX = 256
DOCUMENTS_MAX = 64
FETCHED_AGE_S = 24 * 3600
FAILED_AGE_S = 30
NESTING_MAX = 5
URLS_MAX = 16  # of one context, all nested ones included


class Contexts:
    """All contexts of the server. ``fetch`` gets the bytes behind a URL that is not known; it raises OSError."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch
        self._known = known_documents()
        self._fetched: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._compiled: OrderedDict[str | bytes, tuple[float, Context]] = OrderedDict()
        self.core = compile_context([], CORE_URL)

    def known(self, spec: object) -> Context | None:
        """The context if it is compiled already: the way of nearly every request."""
        if spec is None:
            return self.core
        found = self._compiled.get(_key(spec))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    async def context_for(self, spec: object) -> Context:
        """The context of a URL, a context object, or a list of both; None is the core alone.

        Raises BadRequestData for what is not a context, LdContextNotAvailable for what cannot be fetched.
        """
        found = self.known(spec)
        if found is not None:
            return found
        documents: list[dict[str, Any]] = []
        urls: list[str] = []
        await self._collect(spec, "", documents, urls, 0)
        context = compile_context(documents, spec)
        context.documents = documents
        remote = any(url not in self._known for url in urls)
        lives_s = FETCHED_AGE_S if remote else float("inf")
        _keep(self._compiled, _key(spec), (time.monotonic() + lives_s, context), COMPILED_MAX)
        return context

    def restore(self, spec: object, documents: list[dict[str, Any]]) -> Context:
        """A context kept with its documents (``Context.documents``), whatever the network says now."""
        context = compile_context(documents, spec)
        context.documents = documents
        return context

    async def _collect(
        self, spec: object, base: str, documents: list[dict[str, Any]], urls: list[str], depth: int
    ) -> None:
        if depth > NESTING_MAX:
            raise BadRequestData(f"@context: nested more than {NESTING_MAX} times")
        if isinstance(spec, list):
            for part in spec:
                await self._collect(part, base, documents, urls, depth + 1)
        elif isinstance(spec, dict):
            documents.append(spec)
        elif isinstance(spec, str):
            url = urljoin(base, spec)
            if is_core(url):
                return
            urls.append(url)
            if len(urls) > URLS_MAX:
                raise BadRequestData(f"@context: more than {URLS_MAX} documents")
            await self._collect(await self._document(url), url, documents, urls, depth + 1)
        elif spec is not None:
            raise BadRequestData("@context must be a URL, an object, or a list of them")

    async def _document(self, url: str) -> object:
        """The value of ``@context`` in the document behind a URL."""
        if url in self._known:
            return self._known[url]
        now = time.monotonic()
        fetched, failed = self._fetched.get(url), self._failed.get(url)
        if fetched is not None and fetched[0] > now:
            return fetched[1]
        if failed is not None and failed[0] > now:
            raise LdContextNotAvailable(f"{url}: {failed[1]}")
        try:
            if self._fetch is None:
                raise OSError("this server fetches no contexts")
            body = await self._fetch(url)
        except OSError as error:
            cause = str(error) or type(error).__name__
            _keep(self._failed, url, (now + FAILED_AGE_S, cause), DOCUMENTS_MAX)
            raise LdContextNotAvailable(f"{url}: {cause}") from error
        content = parse_document(url, body)
        _keep(self._fetched, url, (now + FETCHED_AGE_S, content), DOCUMENTS_MAX)
        return content


def parse_document(url: str, body: bytes) -> object:
    """The ``@context`` member of a context document. Raises BadRequestData."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestData(f"{url} is not JSON: {error}") from error
    if not isinstance(document, dict) or "@context" not in document:
        raise BadRequestData(f"{url} is not a JSON-LD context document: it has no @context")
    return document["@context"]


def known_documents() -> dict[str, object]:
    """The context documents that come with Lamppost: URL -> ``@context``. Start-up needs no network."""
    folder = resources.files("gateway.mapping") / "contexts"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {url: parse_document(url, (folder / name).read_bytes()) for url, name in index.items()}


def _key(spec: object) -> str | bytes:
    return spec if isinstance(spec, str) else orjson.dumps(spec)


def _keep(cache: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
