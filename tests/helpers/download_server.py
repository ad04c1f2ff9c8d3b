"""A local server that drops connections and sends parts of files."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DATA = np.random.default_rng(0).bytes(900_000)


class Server:
    """Serves ``files``; each GET sends at most ``limits`` bytes (first limit first), then drops the line."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.limits: list[int] = []
        self.errors: list[int] = []
        self.ranges = True
        self.requests: list[tuple[str, str, int, int]] = []  # method, path, first byte asked for, bytes sent
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Keep the tests' output clean."""

            def do_HEAD(self) -> None:
                outer.answer(self, False)

            def do_GET(self) -> None:
                outer.answer(self, True)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        data = self.files.get(handler.path)
        if data is None or (body and self.errors):
            handler.send_error(self.errors.pop(0) if body and self.errors else 404)
            return
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        asked = handler.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        partial = self.ranges and asked and handler.headers.get("If-Range", tag) == tag
        first = start if partial else 0
        if partial and start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if partial else 200)
        if partial:
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - first))
        handler.send_header("ETag", tag)
        handler.end_headers()
        rest = data[first:]
        if body:
            limit = self.limits.pop(0) if self.limits else len(rest)
            handler.wfile.write(rest[:limit])
            handler.wfile.flush()
            self.requests.append(("GET", handler.path, start, min(limit, len(rest))))
            handler.close_connection = True
