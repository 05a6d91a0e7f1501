"""A server that stands before another one, and is well or not."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

WELL, REFUSING, TRUNCATING, SLOW, HANGING_UP = "well", "answering 500", "truncating", "slow", "hanging up"
PIECES, PAUSE_S = 4, 0.1
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We are not well.</Message></Error>'


class Between(ThreadingHTTPServer):
    """Passes every request on to the server at `beyond`, as long as `mood` of (method, path) is `WELL`."""

    daemon_threads = True

    def __init__(self, beyond: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.beyond = urlsplit(beyond).netloc
        self.mood: Callable[[str, str], str] = lambda method, path: WELL

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def between(beyond: str) -> Iterator[Between]:
    """Such a server, on a port of its own."""
    with Between(beyond) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def _pass(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mood = self.server.mood(self.command, self.path)
        if mood == HANGING_UP:
            self.close_connection = True
            return
        if mood == REFUSING:
            self._answer(500, {"Content-Type": "application/xml"}, ERROR, len(ERROR))
            return
        beyond = http.client.HTTPConnection(self.server.beyond, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        beyond.request(self.command, self.path, said, headers)
        answer = beyond.getresponse()
        body = answer.read()
        beyond.close()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
        length = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(body)
        if mood == TRUNCATING and body:
            self.close_connection = True
            body = body[: len(body) // 2]
        self._answer(answer.status, kept, body, length, slow=mood == SLOW)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: bytes, length: int, *, slow: bool = False) -> None:
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            size = max(1, -(-len(body) // PIECES)) if slow else max(1, len(body))
            for start in range(0, len(body), size):
                if slow:
                    time.sleep(PAUSE_S)
                self.wfile.write(body[start : start + size])

    def log_message(self, *_: object) -> None:
        pass
