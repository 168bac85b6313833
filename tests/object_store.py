"""An S3 server on this machine, which can be told to misbehave as real ones do."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECRET = "sk-never-shown-anywhere-0123456789"
NAME = "AKIANEVERSHOWN000000"

Answer = Callable[[dict[str, Any], Any], Any]


class Faults:
    """A front for an S3 server that answers some requests for photos badly, as its share says, and counts all."""

    def __init__(self, app: Answer) -> None:
        self.app = app
        self.share = 0.0
        self.kinds: tuple[str, ...] = ("500", "503", "slow", "cut", "short")
        self.always = ""
        """Objects with this in their names are never read."""
        self.seconds = 3.0
        """How long a slow answer takes."""
        self.counts: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._random = random.Random(0)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            self.counts[f"{method} {path}"] += 1
            bad = self._random.random() < self.share
            kind = self._random.choice(self.kinds)
        if self.always and self.always in path and method == "GET":
            bad, kind = True, "500"
        if not bad:
            return self.app(environ, start)
        self.done[kind] += 1
        if kind in ("500", "503"):
            return refuse(environ, start, kind)
        if kind == "slow":
            time.sleep(self.seconds)
            return self.app(environ, start)
        if method != "GET" or "list-type" in environ.get("QUERY_STRING", ""):
            return refuse(environ, start, "500")
        return cut(self.app, environ, start, length=kind == "short")


def refuse(environ: dict[str, Any], start: Any, kind: str) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    code = "SlowDown" if kind == "503" else "InternalError"
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    status = "503 Slow Down" if kind == "503" else "500 Internal Server Error"
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def cut(app: Answer, environ: dict[str, Any], start: Any, *, length: bool) -> list[bytes]:
    """Return half of an answer's body; with ``length`` its header claims that this is all."""
    told: list[Any] = []
    body = b"".join(app(environ, lambda status, headers, *_: told.extend((status, headers))))
    half = body[: len(body) // 2]
    headers = [(name, value) for name, value in told[1] if name.lower() != "content-length"]
    start(told[0], [*headers, ("Content-Length", str(len(half if length else body)))])
    return [half]


@contextmanager
def object_store(timeout: int = 1) -> Iterator[tuple[Faults, dict[str, str]]]:
    """Run a server with the empty bucket ``photos``; yields its front, and the environment that leads to it.

    ``timeout`` is how many seconds a client waits for an answer.
    """
    import fsspec
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *args: Any) -> None:
            pass

    fsspec.get_filesystem_class("s3").clear_instance_cache()  # It may lead to a server that another test had.
    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield (
            faults,
            {
                "AWS_ACCESS_KEY_ID": NAME,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
                "AWS_DEFAULT_REGION": "us-east-1",
                "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": timeout, "retries": {"max_attempts": 1}}}),
            },
        )
    finally:
        server.shutdown()
        thread.join()
