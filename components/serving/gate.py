"""The gate before every request: who asks, from where, how much, and whether somebody is free. Nothing is read before it opens.

host and origin -> key -> somebody free? -> body, counted as it comes -> the application
400, 403           401    503               413, 408
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from components.errors import BadParams
from components.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/page.js", "/page.css", "/icon.svg", "/healthz", "/readyz")
"""What anybody may read: it says nothing of any file."""
SHORTEST_KEY = 16
RETRY_S = 2
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def keys_of(text: str) -> dict[str, str]:
    """``name:key,name:key`` -> key by name; raises BadParams for what no one should rely on."""
    keys: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, key = entry.partition(":")
        if not name or len(key) < SHORTEST_KEY or not key.isascii() or name in keys:
            raise BadParams(
                "expected PERENNIAL_KEYS as name:key,name:key, each key of at least "
                f"{SHORTEST_KEY} characters and each name once, found something else for '{name[:40]}'. "
                "`openssl rand -hex 24` makes a key."
            )
        keys[name] = key
    return keys


class Refusal(Exception):
    """What the gate says in place of an answer."""

    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status, self.headers = status, headers


@dataclass
class Gate:
    """An application behind the gate."""

    app: App
    metrics: Metrics
    at_once: int
    body_bytes: Callable[[str], int]
    """How much a request to a path may bring."""
    body_s: float
    """How long bringing it may take."""
    keys: Mapping[str, str] = field(default_factory=dict)
    local: bool = True
    """Whether only this machine can ask: then names other than its own are another's trick."""
    at_work: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = _Said(send)
        try:
            await self._admit(scope, receive, said)
        except Refusal as refusal:
            if not said.begun:
                await said.refuse(refusal)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.requests.labels(path, str(said.status)).inc()

    async def _admit(self, scope: Scope, receive: Receive, send: _Said) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._expect_own_origin(scope["method"], headers)
        scope.setdefault("state", {})["caller"] = self._caller(scope["path"], headers)
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.at_work >= self.at_once:
            raise Refusal(503, f"expected fewer than {self.at_once} requests at once, found as many. Ask again.",
                          **{"retry-after": str(RETRY_S)})  # fmt: skip
        most = self.body_bytes(scope["path"])
        if int(headers.get("content-length") or 0) > most:
            raise Refusal(413, f"expected at most {most:,} bytes, found more. Send less, or begin a job.")
        self.at_work += 1
        self.metrics.at_work.inc()
        try:
            await self.app(scope, _Counted(receive, send, most, self.body_s), send)
        finally:
            self.at_work -= 1
            self.metrics.at_work.dec()

    def _expect_own_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """A page of another site may not ask in the name of whoever looks at it."""
        host = headers.get("host", "")
        if self.local and (urlsplit(f"//{host}").hostname or "") not in LOOPBACK:
            raise Refusal(400, f"expected to be asked as {', '.join(LOOPBACK)}, found another name.")
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            raise Refusal(403, "expected a request of this page or of a program, found one of another site.")

    def _caller(self, path: str, headers: Mapping[str, str]) -> str:
        """The name of the key that was shown; raises Refusal where one is asked for and this is none."""
        if not self.keys:
            return "local"
        shown = headers.get("authorization", "").removeprefix("Bearer ").encode()
        names = [name for name, key in self.keys.items() if hmac.compare_digest(key.encode(), shown)]
        if not names and path not in OPEN:
            raise Refusal(401, "expected a key (Authorization: Bearer KEY), found none that is known.",
                          **{"www-authenticate": "Bearer"})  # fmt: skip
        return names[0] if names else ""


class _Counted:
    """A body that may be only so large and take only so long; what breaks off is told whoever asked, whatever is made of it."""

    def __init__(self, receive: Receive, said: _Said, most: int, within_s: float) -> None:
        self._receive, self._said, self._left = receive, said, most
        self._most, self._within_s = most, within_s
        self._until = asyncio.get_running_loop().time() + within_s
        self._ended = False

    async def __call__(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise self._said.refused(
                408, f"expected the request within {self._within_s:.0f} s, found no end."
            ) from None
        self._left -= len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._left < 0:
            raise self._said.refused(
                413, f"expected at most {self._most:,} bytes, found more. Send less, or begin a job."
            )
        return message


class _Said:
    """What is said: the headers that everything bears, and a refusal in place of what the application makes of it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._refusal: Refusal | None = None
        self.begun, self.status, self._ended = False, 0, False

    def refused(self, status: int, words: str) -> Refusal:
        """A refusal that whoever asked will read, if nothing was said before."""
        self._refusal = Refusal(status, words)
        return self._refusal

    async def __call__(self, message: Message) -> None:
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            if not self.begun:
                await self.refuse(refusal)
            self._send, self._ended = _nowhere, True
        if message["type"] == "http.response.start" and not self._ended:
            self.begun, self.status = True, int(message["status"])
            bears = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *bears]}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Say why there is no answer."""
        self._refusal = None
        body = json.dumps({"detail": str(refusal)}).encode()
        fixed = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        headers = [(name.encode(), value.encode()) for name, value in {**fixed, **refusal.headers}.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


async def _nowhere(_: Message) -> None:
    """Where what nobody shall hear goes."""
