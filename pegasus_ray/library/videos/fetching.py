"""Fetches a video to the machine that needs it, in blocks, hashing it on the way.

What arrives is held against what was planned: its size, its sha256 where that is known, and the tag that its bucket's listing
gave. So a track is never made from another video than the one that its key names.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from fsspec.asyn import sync

from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.remote import error_code
from pegasus_ray.library.videos.addresses import (
    Video,
    cause_of,
    fit_name,
    identity_of,
    is_remote,
    open_store,
    read_errors,
    shown,
    transport_errors,
)
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress

MAX_VIDEO_BYTES = 20 * 10**9
"""Largest video that is fetched. An hour of a talking head is a few GB."""
RETRY_WAITS = (1.0, 4.0)  # seconds
"""Waits before a fetch that broke off is begun again, from the start."""
TIMEOUT_SECONDS = 30.0
"""Longest silence of an https server, while connecting and between two packets."""
RANGE_BYTES = 8 << 20
"""Asked for at once from stores other than S3, with a request each."""

_BLOCK_BYTES = 1 << 20  # read at once from a stream
_HEADERS = {"User-Agent": "pegasus-ray", "Accept-Encoding": "identity"}  # the file as it is, whose digest is known
_PASSING = (408, 429)  # status codes below 500 after which another try may succeed
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHANGED = "has changed since it was listed; run the same command again"


@contextmanager
def fetched(video: Video, *, verify: bool = False, progress: Progress | None = None) -> Iterator[tuple[Path, str]]:
    """A video as a file of this machine, and its sha256.

    A file of this machine is given as it is. Others are streamed to a temporary folder, which is removed at the end; the file has
    the video's name as far as that is fit for one.

    Args:
        video: as `expand` gave it, on this or another machine.
        verify: hash a file of this machine again. Its size is compared in any case, and what is fetched is always hashed.
        progress: called at each block with the share that is here, 0 while the size is not known.

    Raises:
        PegasusError: NOT_FOUND if it cannot be had; CORRUPT if it is not what was named or listed; BAD_CONFIG if it is larger
            than `MAX_VIDEO_BYTES`; DISK_FULL if the temporary folder's disk is full.
    """
    if not is_remote(video.address):
        yield _checked_file(video, verify)
        return
    _check_size(video.size, video)
    with read_errors("TMPDIR"), _disk_errors():
        folder = tempfile.TemporaryDirectory(prefix="pegasus-video-", ignore_cleanup_errors=True)
    with folder:
        path = Path(folder.name) / fit_name(video.name)
        yield path, _fetch(video, path, progress)


def _checked_file(video: Video, verify: bool) -> tuple[Path, str]:
    path = Path(video.address)
    with read_errors(shown(video.address)):
        if not path.is_file():
            message = "is not on this machine; put it where all workers see it under the same path, or into a bucket"
            raise PegasusError(Reason.NOT_FOUND, message, subject=shown(video.address))
        if path.stat().st_size != video.size or (verify and digest_file(path) != video.sha256):
            raise PegasusError(Reason.CORRUPT, _CHANGED, subject=shown(video.address))
    return path, video.sha256


def _fetch(video: Video, path: Path, progress: Progress | None) -> str:
    """Stream a video to a file, again from the start where that broke off. Its sha256."""
    with read_errors(shown(video.address)):
        for wait in (*RETRY_WAITS, None):
            try:
                return _stream(video, path, progress)
            except (PermissionError, FileNotFoundError):
                raise
            except transport_errors():
                if wait is None:
                    raise
                time.sleep(wait)
    raise AssertionError("unreachable")


def _stream(video: Video, path: Path, progress: Progress | None) -> str:
    seen, count = hashlib.sha256(), 0
    most = MAX_VIDEO_BYTES if video.size is None else video.size
    with _disk_errors(), closing(_blocks(video)) as blocks, path.open("wb") as file:
        for block in blocks:
            count += len(block)
            if count > most:
                _check_size(count, video)
                raise PegasusError(Reason.CORRUPT, _CHANGED, subject=shown(video.address))
            file.write(block)
            seen.update(block)
            if progress:
                progress(count / video.size if video.size else 0.0, "fetch")
    if video.size is not None and count < video.size:
        raise ConnectionError(f"the connection broke off after {count} of {video.size} bytes")
    if video.sha256 and seen.hexdigest() != video.sha256:
        message = f"what came is not the file that was named: its sha256 is {seen.hexdigest()}; check the address and the digest"
        raise PegasusError(Reason.CORRUPT, message, subject=shown(video.address))
    return seen.hexdigest()


def _blocks(video: Video) -> Generator[bytes, None, None]:
    scheme = video.address.partition("://")[0]
    if scheme == "https":
        return _https_blocks(video)
    return _s3_blocks(video) if scheme in ("s3", "s3a") else _store_blocks(video)


def _s3_blocks(video: Video) -> Generator[bytes, None, None]:
    """An object of S3, by one request that the store refuses if the object is not the one that was listed."""
    store, path = open_store(video.address)
    bucket, _, key = path.partition("/")
    tag = video.identity.partition(":")[2].rpartition(":")[0]
    files: Any = store.filesystem
    try:
        answer = files.call_s3("get_object", Bucket=bucket, Key=key, IfMatch=f'"{tag}"')
    except OSError as error:
        if error_code(error) in ("PreconditionFailed", "412"):
            raise PegasusError(Reason.CORRUPT, _CHANGED, subject=shown(video.address)) from error
        raise
    body = answer["Body"]
    try:
        while block := sync(files.loop, body.read, _BLOCK_BYTES):
            yield block
    finally:
        files.loop.call_soon_threadsafe(body.close)


def _store_blocks(video: Video) -> Generator[bytes, None, None]:
    """An object of another store, in ranges. Since its tag is not a condition of these requests, it is compared afterwards."""
    store, path = open_store(video.address)
    kind, seen = video.identity.partition(":")[0], hashlib.md5(usedforsecurity=False)
    with store.filesystem.open(path, "rb", block_size=RANGE_BYTES, cache_type="none") as stream:
        while block := stream.read(RANGE_BYTES):
            seen.update(block)
            yield block
    if kind == "md5":
        same = video.identity == f"md5:{seen.hexdigest()}:{video.size}"
    else:
        store.filesystem.invalidate_cache()
        same = video.identity == identity_of(store.filesystem.info(path), shown(video.address))
    if not same:
        raise PegasusError(Reason.CORRUPT, _CHANGED, subject=shown(video.address))


def _https_blocks(video: Video) -> Generator[bytes, None, None]:
    parsed = urlsplit(video.address)
    bare = parsed._replace(netloc=parsed.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, headers=_HEADERS)
    if parsed.username is not None:
        who = f"{unquote(parsed.username)}:{unquote(parsed.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(who).decode()}")
    with _open(request, shown(video.address)) as answer:
        length = str(answer.headers.get("Content-Length") or "")
        size = int(length) if length.isdecimal() else None
        _check_size(size, video)
        count = 0
        while block := answer.read(_BLOCK_BYTES):
            count += len(block)
            yield block
    if size is not None and count < size:
        raise ConnectionError(f"the connection broke off after {count} of {size} bytes")


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses only, and gives them nothing of what the first request said."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request:
        """See urllib. The answer's text is closed unread, for urllib would read all of it into memory."""
        fp.close()
        if not newurl.startswith("https://") or "@" in urlsplit(newurl).netloc:
            raise urllib.error.HTTPError("", code, "it leads to an address that is not plain https", headers, fp)
        return urllib.request.Request(newurl, headers=_HEADERS)


def _open(request: urllib.request.Request, subject: str) -> Any:
    """The answer to a request over https, through the proxy that the environment names, if it names one (HTTPS_PROXY, NO_PROXY).

    Raises:
        PegasusError: NOT_FOUND if the server's certificate is not valid, or it refuses.
        OSError: if another try may succeed.
    """
    proxies = urllib.request.getproxies_environment()
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({name: proxies[name] for name in proxies if name == "https"}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _HttpsRedirects(),
    ):
        opener.add_handler(handler)
    try:
        return opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        said = f"{error.code} {cause_of(error)}"
        if error.code >= 500 or error.code in _PASSING:
            raise ConnectionError(f"the server answers {said}") from error
        message = f"the server does not give it ({said}); check the address, and its credentials if it has some"
        raise PegasusError(Reason.NOT_FOUND, message, subject=subject) from error
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
        message = f"its server cannot be trusted ({cause_of(error)}); SSL_CERT_FILE names certificates of your own"
        raise PegasusError(Reason.NOT_FOUND, message, subject=subject) from error


def _check_size(size: int | None, video: Video) -> None:
    if size is not None and size > MAX_VIDEO_BYTES:
        message = (
            f"is larger than {MAX_VIDEO_BYTES / 1e9:g} GB, the largest that is fetched; cut it, or make it smaller"
        )
        raise PegasusError(Reason.BAD_CONFIG, message, subject=shown(video.address))


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn a full disk under the temporary folder into a PegasusError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        message = "the disk of the temporary folder is full; make room, or name a folder of another disk in TMPDIR"
        raise PegasusError(Reason.DISK_FULL, message, subject="TMPDIR") from error
