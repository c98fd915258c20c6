"""An S3 for tests: moto's, on a free port of this machine, so that other processes can use it too."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


class Request(NamedTuple):
    """What a client asked for, and how it was answered."""

    method: str
    path: str  # "/bucket/key"
    query: str
    status: int = 0

    @property
    def is_part(self) -> bool:
        """Whether it uploads one part of several."""
        return self.method == "PUT" and "partNumber=" in self.query


class Refusal(NamedTuple):
    """An answer by which S3 refuses a request."""

    status: int
    code: str


class S3Server:
    """A running server.

    moto looks whether an object exists and writes it in two steps, so that of two conditional puts at once both may succeed. Here
    requests are carried out one at a time, and only once their bodies have arrived whole, so that each is atomic, as on S3.

    Attributes:
        answered: the requests so far.
        refuse: looks at each request before it is carried out, and may refuse it or hold it up.
    """

    def __init__(self) -> None:
        self.answered: list[Request] = []
        self.refuse: Callable[[Request], Refusal | None] = _refuse_nothing
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request (WSGI)."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b""
        request = Request(environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"]), environ["QUERY_STRING"])

        def answer(status: str, headers: list[tuple[str, str]], *more: object) -> Any:
            self.answered.append(request._replace(status=int(status.split()[0])))
            return start_response(status, headers, *more)

        refusal = self.refuse(request) if len(body) == size else Refusal(400, "IncompleteBody")
        if refusal is not None:
            answer(f"{refusal.status} refused", [("Content-Type", "application/xml")])
            text = f"<Error><Code>{refusal.code}</Code><Message>{refusal.code}</Message></Error>"
            return [] if request.method == "HEAD" else [text.encode()]
        with self._one_at_a_time:
            return list(self._moto({**environ, "wsgi.input": io.BytesIO(body)}, answer))

    @contextmanager
    def refusing(self, refuse: Callable[[Request], Refusal | None]) -> Iterator[None]:
        """Refuse, or hold up, what a function says."""
        self.refuse = refuse
        try:
            yield
        finally:
            self.refuse = _refuse_nothing


class _QuietHandler(MotoRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Print nothing."""


def _refuse_nothing(request: Request) -> None:
    """Let every request pass."""


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server to which `s3://` leads in this process and in those that it starts."""
    server = S3Server()
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{http.server_port}")
            S3FileSystem.clear_instance_cache()  # of those that lead elsewhere
            yield server
    finally:
        S3FileSystem.clear_instance_cache()
        http.shutdown()
        thread.join()
        http.server_close()
        get_backend("s3").reset()
