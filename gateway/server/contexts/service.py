"""Finding contexts: those compiled already, documents known offline, then a bounded download."""

from __future__ import annotations

import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin

import orjson

from gateway.server.contexts.catalog import PATH, Catalog, Downloaded, Kind, id_of, now
from gateway.server.contexts.compiled import CORE_URL, Context, compile_context, core, core_document, is_core, retired
from gateway.server.contexts.definitions import Definitions
from gateway.server.errors import BadRequestData, LdContextNotAvailable, Problem

LEAST_AGE_S, MOST_AGE_S = 10, 30 * 24 * 3600  # whatever the headers say: nobody makes us download at every request


class Download(NamedTuple):
    """What was behind a URL. ``headers``: names in lower case."""

    body: bytes
    headers: Mapping[str, str]


Fetch = Callable[[str], Awaitable[Download]]
COMPILED_MAX = 256
DOCUMENTS_MAX = 64
FETCHED_AGE_S = 24 * 3600
FAILED_AGE_S = 30
NESTING_MAX = 5
URLS_MAX = 16  # of one context, all nested ones included


class Kept(NamedTuple):
    """A context in the list of those that the server keeps; ``used``: DateTime. ``content`` is None for Cached."""

    id: str
    kind: Kind
    url: str
    created: str
    hits: int
    used: str | None
    content: Any = None


@dataclass(slots=True)
class _Use:
    """How often a context was asked for, and when last (seconds since 1970)."""

    first: str
    hits: int = 0
    last_s: float = 0.0


class Contexts:
    """All contexts of the server. ``fetch`` gets what is behind a URL that is not known; it raises OSError.

    ``catalog``: those it hosts. ``preload``: URL -> content, instead of a download. ``scheme``: of its own URLs.
    """

    def __init__(
        self,
        fetch: Fetch | None = None,
        catalog: Catalog | None = None,
        preload: Mapping[str, object] | None = None,
        scheme: str = "http",
    ) -> None:
        self._fetch = fetch
        self._scheme = scheme
        self._catalog = catalog
        self._known = {**known_documents(), **(preload or {})}
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._fetched: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._compiled: OrderedDict[str | bytes, tuple[float, Context, _Use]] = OrderedDict()
        self.core = compile_context([], CORE_URL)

    def known(self, spec: object) -> Context | None:
        """The context if it is compiled already: the way of nearly every request."""
        if spec is None:
            return self.core
        found = self._compiled.get(_key(spec))
        if found is None or found[0] <= time.monotonic():
            return None
        use = found[2]
        use.hits += 1
        use.last_s = time.time()
        return found[1]

    async def context_for(self, spec: object) -> Context:
        """The context of a URL, a context object, or a list of both; None is the core alone.

        Raises BadRequestData for what is not a context, LdContextNotAvailable for what cannot be fetched.
        """
        found = self.known(spec)
        if found is not None:
            return found
        documents: list[dict[str, Any]] = []
        urls: list[str] = []
        await self._collect(spec, (), documents, urls, 0)
        context = compile_context(documents, spec)
        context.documents = documents
        context.link = _link(spec) or context.link
        ends = min((self._fetched[url][0] for url in urls if url in self._fetched), default=float("inf"))
        use = self._use(_key(spec))
        use.hits += 1
        use.last_s = time.time()
        _keep(self._compiled, _key(spec), (ends, context, use), COMPILED_MAX)
        return context

    async def linked(self, context: Context) -> None:
        """An answer is going to name the context in a Link header: an inline one gets a URL of its own for that."""
        if self._catalog is None or isinstance(context.spec, str) or _link(context.spec) is not None:
            return
        name = id_of(orjson.dumps(context.spec))
        await self._catalog.keep_inline(name, context.spec)
        context.link = f"{PATH}/{name}"

    async def by_url(self, context: Context, host: str | None) -> Context:
        """The same context by its URL, for who must be told where it is: an inline one gets one of our own.

        ``host``: by which name the client knows this server.
        """
        await self.linked(context)
        link = self.address(host, context.link)
        return await self.context_for(link) if link.startswith("http") else context

    def address(self, host: str | None, path: str) -> str:
        """The whole URL of one of our own resources; other URLs as they are."""
        ours = host and path.startswith("/")
        return f"{self._scheme}://{quote(host or '', safe='.:[]-')}{path}" if ours else path

    def restore(self, spec: object, documents: list[dict[str, Any]]) -> Context:
        """A context kept with its documents (``Context.documents``), whatever the network says now."""
        context = compile_context(documents, spec)
        context.documents = documents
        context.link = _link(spec) or context.link
        return context

    # what is kept

    async def host(self, content: object) -> str:
        """Keep a context of a user under an own URL; returns its id. Raises as ``context_for``, TooManyResults."""
        await self.context_for(content)
        assert self._catalog is not None
        return (await self._catalog.host(content)).id

    def kept(self) -> list[Kept]:
        """Those hosted and made of inline ones, then those downloaded (or known offline, once they were used)."""
        entries = [] if self._catalog is None else list(self._catalog.entries.values())
        own = []
        for entry in entries:
            use = self._uses.get(f"{PATH}/{entry.id}", _Use(entry.created))
            own.append(_kept(entry.id, entry.kind, f"{PATH}/{entry.id}", use, entry.created, entry.content))
        urls = dict.fromkeys(url for url in self._uses if not url.startswith(PATH))
        urls |= dict.fromkeys([] if self._catalog is None else self._catalog.downloads)
        return own + [_kept(id_of(url), "Cached", url, self._uses.get(url) or _Use(now())) for url in urls]

    def find(self, wanted: str) -> Kept | None:
        """By local id or, where it was downloaded, by its URL."""
        return next((kept for kept in self.kept() if wanted in (kept.id, kept.url)), None)

    async def delete(self, kept: Kept) -> None:
        """Forget it; compiled ones may be made of it, so they go, too. Raises BadRequestData for the core context."""
        if is_core(kept.url):
            raise BadRequestData("the core context is a part of the server")
        if kept.kind == "Cached":
            self._fetched.pop(kept.url, None)
            if self._catalog is not None:
                await self._catalog.forget(kept.url)
        elif self._catalog is not None:
            await self._catalog.delete(kept.id)
        self._uses.pop(kept.url, None)
        self._compiled.clear()

    async def reload(self, kept: Kept) -> None:
        """Download it anew; if that fails the old copy stays. Raises LdContextNotAvailable, BadRequestData."""
        if is_core(kept.url):
            raise BadRequestData("the core context is a part of the server")
        self._failed.pop(kept.url, None)
        await self._download(kept.url)
        self._compiled.clear()

    def _use(self, key: str | bytes) -> _Use:
        """Only what has a URL is counted."""
        if isinstance(key, bytes):
            return _Use("")
        own = None if self._catalog is None else self._catalog.by_url(key)
        url = key if own is None else f"{PATH}/{own.id}"
        if url not in self._uses:
            _keep(self._uses, url, _Use(now()), COMPILED_MAX)
        return self._uses[url]

    async def _collect(
        self, spec: object, within: tuple[str, ...], documents: list[dict[str, Any]], urls: list[str], depth: int
    ) -> None:
        """Append the context objects of ``spec``; ``within``: the URLs that led to it, the nearest last."""
        if depth > NESTING_MAX:
            raise BadRequestData(f"@context: nested more than {NESTING_MAX} times")
        if isinstance(spec, list):
            for part in spec:
                await self._collect(part, within, documents, urls, depth + 1)
        elif isinstance(spec, dict):
            documents.append(await self._with_import(spec, within, urls) if "@import" in spec else spec)
        elif isinstance(spec, str):
            url = urljoin(within[-1] if within else "", spec)
            if is_core(url):
                documents += [retired(url)] if retired(url) else []
                return
            content = await self._included(url, within, urls)
            await self._collect(content, (*within, url), documents, urls, depth + 1)
        elif spec is None:
            if Definitions(core()["vocab"], documents).protected:
                raise BadRequestData("@context: null cannot take back terms that are protected")
            documents.clear()  # JSON-LD 1.1 API 4.1, step 5.1: null forgets what was before it
        else:
            raise BadRequestData("@context must be a URL, an object, or a list of them")

    async def _included(self, url: str, within: tuple[str, ...], urls: list[str]) -> object:
        """What is behind a URL in a context."""
        if url in within:
            raise BadRequestData(f"@context: {url} includes itself")
        urls.append(url)
        if len(urls) > URLS_MAX:
            raise BadRequestData(f"@context: more than {URLS_MAX} documents")
        return await self._document(url)

    async def _with_import(self, spec: dict[str, Any], within: tuple[str, ...], urls: list[str]) -> dict[str, Any]:
        """A context object over the one that it imports (JSON-LD 1.1 API 4.1, step 5.6)."""
        if not isinstance(spec["@import"], str):
            raise BadRequestData("@context: @import must be a URL")
        url = urljoin(within[-1] if within else "", spec["@import"])
        content = {**core_document(), **retired(url)} if is_core(url) else await self._included(url, within, urls)
        if not isinstance(content, dict) or "@import" in content:
            raise BadRequestData(f"@context: {url} cannot be imported: it is not one object without @import")
        return {**content, **{name: value for name, value in spec.items() if name != "@import"}}

    async def _document(self, url: str) -> object:
        """The value of ``@context`` in the document behind a URL."""
        own = None if self._catalog is None else self._catalog.by_url(url)
        if own is not None:
            return own.content
        fetched = self._fetched.get(url)
        if fetched is not None and fetched[0] > time.monotonic():
            return fetched[1]
        if url in self._known:
            return self._known[url]
        if not url.startswith(("http://", "https://", PATH)):
            raise BadRequestData(f"@context: {url[:200]!r} is not a URL of http or https")
        kept = None if self._catalog is None else self._catalog.downloads.get(url)
        left_s = 0.0 if kept is None else kept.until_s - time.time()
        if kept is not None and left_s > 0:
            return self._hold(url, kept.content, left_s)
        try:
            return await self._download(url)
        except LdContextNotAvailable:
            if kept is None:
                raise
            return self._hold(url, kept.content, FAILED_AGE_S)  # RFC 9111 clause 4.2.4: stale, but disconnected

    def _hold(self, url: str, content: object, seconds: float) -> object:
        _keep(self._fetched, url, (time.monotonic() + seconds, content), DOCUMENTS_MAX)
        return content

    async def _download(self, url: str) -> object:
        now = time.monotonic()
        failed = self._failed.get(url)
        if failed is not None and failed[0] > now:
            raise LdContextNotAvailable(f"{url}: {failed[1]}")
        try:
            if self._fetch is None:
                raise OSError("this server fetches no contexts")
            got = await self._fetch(url)
        except OSError as error:
            cause = str(error) or type(error).__name__
            _keep(self._failed, url, (now + FAILED_AGE_S, cause), DOCUMENTS_MAX)
            raise LdContextNotAvailable(f"{url}: {cause}") from error
        content = parse_document(url, got.body)
        self._use(url)
        seconds = fresh_s(got.headers)
        if self._catalog is not None:
            with contextlib.suppress(Problem):  # a full disk: it is downloaded again after the next start
                await self._catalog.remember(Downloaded(url, content, time.time() + seconds))
        return self._hold(url, content, seconds)


def fresh_s(headers: Mapping[str, str]) -> float:
    """How long a download may be used, in seconds (RFC 9111 clause 5.2.2, 5.3); a shared cache, so s-maxage first."""
    words = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    given = dict(part.split("=", 1) for part in words if "=" in part)
    age = next((given[name].strip('"') for name in ("s-maxage", "max-age") if name in given), None)
    if {"no-store", "no-cache", "private"} & set(words):
        return LEAST_AGE_S
    if age is not None:
        seconds = float(age) if age.isascii() and age.isdecimal() and len(age) < 12 else 0.0
    elif "expires" in headers:
        try:
            seconds = parsedate_to_datetime(headers["expires"]).timestamp() - time.time()
        except (ValueError, OverflowError):
            seconds = 0.0
    else:
        seconds = FETCHED_AGE_S
    return min(max(seconds, LEAST_AGE_S), MOST_AGE_S)


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


def preloaded(files: Mapping[str, Path]) -> dict[str, object]:
    """The context documents that the operator has on the disk. Raises OSError, BadRequestData."""
    return {url: parse_document(str(path), path.read_bytes()) for url, path in files.items()}


def _kept(name: str, kind: Kind, url: str, use: _Use, created: str = "", content: object = None) -> Kept:
    used = None
    if use.hits:
        used = datetime.fromtimestamp(use.last_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return Kept(name, kind, url, created or use.first, use.hits, used, content)


def _link(spec: object) -> str | None:
    """What a Link header names: the URL; of a list with one document beside the core, that. Others have none."""
    listed = spec if isinstance(spec, list) else [spec]
    parts = [part for part in listed if not (isinstance(part, str) and is_core(part))]
    if not parts:
        return str(listed[-1]) if listed else CORE_URL
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else None


def _key(spec: object) -> str | bytes:
    return spec if isinstance(spec, str) else orjson.dumps(spec)


def _keep(cache: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
