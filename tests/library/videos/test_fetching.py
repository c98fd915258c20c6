"""Invariants of fetching a video.

What arrives has the size, digest and tag that were planned, or it is refused. An object takes one request and never lies whole in
memory. A fetch that breaks off begins again. Passwords stay with the server that they are for, and out of messages. Nothing is
left in the temporary folder.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import multiprocessing
import os
import ssl
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from s3fs import S3FileSystem

from pegasus_ray.library.keys import digest
from pegasus_ray.library.videos import fetching
from pegasus_ray.library.videos.addresses import Video, expand
from pegasus_ray.library.videos.fetching import fetched
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.library.s3_server import Refusal, S3Server
from tests.library.videos.stand_in_store import StandInStore

CLIP = os.urandom(3_000_000)
registry = sys.modules["fsspec.registry"]  # the attribute of that name is a mapping


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder, in which nothing is left; and no waiting."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(fetching, "RETRY_WAITS", (0.0, 0.0))
    yield folder
    assert list(folder.iterdir()) == []


def fetch(video: Video, **options: bool) -> tuple[str, bytes, str]:
    """Name, content and sha256 of what is fetched."""
    with fetched(video, **options) as (path, sha256):
        return path.name, path.read_bytes(), sha256


def complaint(video: Video, **options: bool) -> PegasusError:
    with pytest.raises(PegasusError) as caught:
        fetch(video, **options)
    return caught.value


# Files of this machine


def test_a_file_is_given_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(CLIP)
    (video,) = expand(str(path))
    for verify in (False, True):
        with fetched(video, verify=verify) as given:
            assert given == (path, digest(CLIP))
    path.write_bytes(CLIP[::-1])
    assert fetch(video)[1] == CLIP[::-1], "only its size is looked at"
    assert complaint(video, verify=True).reason is Reason.CORRUPT
    path.write_bytes(CLIP + b"x")
    assert complaint(video).reason is Reason.CORRUPT
    path.unlink()
    assert complaint(video).reason is Reason.NOT_FOUND


# Buckets


def listed(bucket: str, content: bytes = CLIP, key: str = "in/clip.mp4") -> Video:
    """A video that is put into a bucket."""
    fsspec.filesystem("s3").call_s3("put_object", Bucket=bucket, Key=key, Body=content)
    (video,) = expand(f"s3://{bucket}/{key.replace('?', '[?]')}")
    return video


def test_an_object_is_fetched_with_one_request(server: S3Server, bucket: str) -> None:
    video, shares = listed(bucket), []
    server.answered.clear()
    with fetched(video, progress=lambda share, text: shares.append(share)) as (path, sha256):
        assert (path.name, path.read_bytes(), sha256) == ("clip.mp4", CLIP, digest(CLIP))
    assert [request.method for request in server.answered] == ["GET"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert fetch(listed(bucket, b""))[1] == b""


@pytest.mark.parametrize(
    "key", ["in/../../up.mp4", "/lead.mp4", "x::file:/etc/passwd.mp4", "a?versionId=1.mp4", "a\\b.mp4"]
)
def test_odd_names_stay_in_the_temporary_folder(bucket: str, temporary: Path, key: str) -> None:
    with fetched(listed(bucket, key=key)) as (path, _):
        assert path.resolve().parent.parent == temporary.resolve()
        assert path.read_bytes() == CLIP


def test_an_object_that_has_changed_is_refused(bucket: str) -> None:
    video = listed(bucket)
    listed(bucket, CLIP[::-1])
    error = complaint(video)
    assert (error.reason, "run the same command again" in error.message) == (Reason.CORRUPT, True)
    fsspec.filesystem("s3").rm_file(f"{bucket}/in/clip.mp4")
    assert complaint(video).reason is Reason.NOT_FOUND


def test_an_object_that_is_too_large_is_not_asked_for(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = listed(bucket)
    monkeypatch.setattr(fetching, "MAX_VIDEO_BYTES", len(CLIP) - 1)
    server.answered.clear()
    assert complaint(video).reason is Reason.BAD_CONFIG
    assert server.answered == []


def test_a_store_that_fails_is_named(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    video = listed(bucket)
    with server.refusing(lambda request: Refusal(403, "AccessDenied")):
        server.answered.clear()
        error = complaint(video)
    assert (error.reason, "access is refused" in error.message) == (Reason.NOT_FOUND, True)
    assert len(server.answered) == 1, "which another try does not help"
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with server.refusing(lambda request: Refusal(503, "ServiceUnavailable")):
        server.answered.clear()
        error = complaint(video)
    assert (error.reason, "network" in error.message) == (Reason.NOT_FOUND, True)
    assert len(server.answered) == 3


def peak_of_fetching(video: Video) -> int:
    """The most bytes that Python held while it fetched, beyond those that it held before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    with fetched(video) as (path, _):
        assert path.stat().st_size == video.size
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def test_a_large_object_never_lies_whole_in_memory(bucket: str) -> None:
    video = listed(bucket, bytes(64 << 20))
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn")
    ) as others:  # where the server's memory is not counted
        others.submit(peak_of_fetching, listed(bucket, key="first.mp4")).result(120)  # loads the client
        assert others.submit(peak_of_fetching, video).result(120) < 8 << 20


@pytest.mark.parametrize("tag", ["md5Hash", "crc32c"])
def test_an_object_of_google_is_held_against_its_tag(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registry, "gs", StandInStore)
    monkeypatch.setattr(StandInStore, "tag", tag)
    monkeypatch.setattr(StandInStore, "objects", {"bucket/line\nend.mp4": CLIP})
    monkeypatch.setattr(fetching, "RANGE_BYTES", 1 << 20)
    (video,) = expand("gs://bucket/*")
    assert fetch(video) == ("line_end.mp4", CLIP, digest(CLIP))
    StandInStore.objects["bucket/line\nend.mp4"] = CLIP[::-1]
    assert complaint(video).reason is Reason.CORRUPT
    StandInStore.objects["bucket/line\nend.mp4"] = CLIP + b"x"
    assert complaint(video).reason is Reason.CORRUPT


def test_a_full_disk_is_named(bucket: str) -> None:
    with pytest.raises(PegasusError) as caught:
        fetching._fetch(listed(bucket), Path("/dev/full"), None)
    assert (caught.value.reason, "TMPDIR" in str(caught.value)) == (Reason.DISK_FULL, True)


# Servers


class Answers(BaseHTTPRequestHandler):
    """A server that does what its paths say."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, str | None]]] = []  # host, path, what it was told as credentials
    breaks = 0  # answers that break off

    def do_GET(self) -> None:
        self.asked.append((self.headers["Host"], self.path, self.headers["Authorization"]))
        path, port = self.path.partition("?")[0], self.server.server_address[1]
        if path == "/moved.mp4":
            return self._answer(302, length=10**9, Location=f"https://127.0.0.1:{port}/clip.mp4")  # which never come
        if path == "/plain.mp4":
            return self._answer(302, Location=f"http://localhost:{port}/clip.mp4?sign=s3cret")
        if path == "/circle.mp4":
            return self._answer(302, Location="/circle.mp4")
        if path.startswith("/status/"):
            return self._answer(int(path.removeprefix("/status/")))
        if path == "/chunked.mp4":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CLIP), CLIP)) and None
        if path == "/silent.mp4":
            return time.sleep(3)
        return self._answer(200, CLIP)

    def _answer(self, status: int, content: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.send_header("ETag", '"tag"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if Answers.breaks > 0 and content:
            Answers.breaks -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def answering(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server."""
    Answers.breaks = 0
    Answers.asked.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    if context:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that is its own authority, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = serialization.Encoding.PEM
    private = key.private_bytes(text, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    path.write_bytes(made.public_bytes(text) + private)
    return path


@pytest.fixture
def port(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an https server whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(context) as port:
        yield port


def on_server(port: int, path: str, sha256: str = digest(CLIP), who: str = "") -> Video:
    (video,) = expand(f"https://{who}localhost:{port}{path}#sha256={sha256}")
    return video


@pytest.mark.parametrize("path", ["/clip.mp4", "/moved.mp4", "/chunked.mp4"])
def test_https_gives_what_was_named(port: int, path: str) -> None:
    assert fetch(on_server(port, path)) == (path[1:], CLIP, digest(CLIP))


def test_another_file_than_the_one_named_is_refused(port: int) -> None:
    error = complaint(on_server(port, "/clip.mp4", "ab" * 32))
    assert (error.reason, digest(CLIP) in error.message) == (Reason.CORRUPT, True)
    assert len(Answers.asked) == 1


def test_passwords_stay_with_their_server(port: int) -> None:
    video = on_server(port, "/moved.mp4?sign=1", who="us%40er:s3cret@")
    assert fetch(video)[1] == CLIP
    basic = "Basic " + base64.b64encode(b"us@er:s3cret").decode()
    assert Answers.asked == [
        (f"localhost:{port}", "/moved.mp4?sign=1", basic),
        (f"127.0.0.1:{port}", "/clip.mp4", None),
    ]
    for path in ("/plain.mp4", "/status/403?sign=s3cret", "/status/500?sign=s3cret", "/circle.mp4?sign=s3cret"):
        assert "s3cret" not in str(complaint(on_server(port, path, who="user:s3cret@")))


def test_redirects_lead_to_https_only(port: int) -> None:
    error = complaint(on_server(port, "/plain.mp4"))
    assert (error.reason, "not plain https" in error.message) == (Reason.NOT_FOUND, True)
    assert len(Answers.asked) == 1


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (401, 1), (416, 1), (429, 3), (500, 3), (503, 3)])
def test_what_a_server_refuses_is_tried_again_where_that_may_help(port: int, status: int, tries: int) -> None:
    error = complaint(on_server(port, f"/status/{status}"))
    assert (error.reason, str(status) in error.message) == (Reason.NOT_FOUND, True)
    assert len(Answers.asked) == tries


def test_a_server_that_is_not_trusted_or_not_there(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "cannot be trusted" in complaint(on_server(port, "/clip.mp4")).message
    for place in ("https://localhost:9/a.mp4", "https://no..such/a.mp4"):
        (video,) = expand(f"{place}#sha256={digest(CLIP)}")
        assert complaint(video).reason is Reason.NOT_FOUND


def test_the_proxy_of_the_environment_is_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing answers
    assert complaint(on_server(port, "/clip.mp4")).reason is Reason.NOT_FOUND
    monkeypatch.setenv("no_proxy", "localhost")
    assert fetch(on_server(port, "/clip.mp4"))[1] == CLIP


def test_a_server_that_says_nothing_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)
    assert "timed out" in complaint(on_server(port, "/silent.mp4")).message


@pytest.mark.parametrize("path", ["/clip.mp4", "/chunked.mp4"])
def test_more_than_the_most_is_not_taken(port: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_VIDEO_BYTES", len(CLIP) - 1)
    assert complaint(on_server(port, path)).reason is Reason.BAD_CONFIG


@pytest.mark.parametrize(("breaks", "enough"), [(2, True), (3, False)])
@pytest.mark.parametrize("store", ["https", "s3"])
def test_what_breaks_off_is_begun_again(
    port: int, store: str, breaks: int, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering() as plain:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{plain}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "us-east-1")
        S3FileSystem.clear_instance_cache()
        object_ = Video(address="s3://bucket/clip.mp4", name="c.mp4", identity="etag:tag:3000000", size=len(CLIP))
        video = on_server(port, "/clip.mp4") if store == "https" else object_
        Answers.breaks = breaks
        if enough:
            assert fetch(video)[1:] == (CLIP, digest(CLIP))
        else:
            error = complaint(video)
            assert (error.reason, "network" in error.message) == (Reason.NOT_FOUND, True)
        assert len(Answers.asked) == 3
    S3FileSystem.clear_instance_cache()
