"""Videos by address: files of this machine, objects of a bucket, and https addresses with a digest.

`expand` turns what a user wrote into videos and reads only what it must: files of this machine are hashed, and a bucket is asked
for its listing, which has a tag of each object's content. So 500 videos are planned with one request, and none is downloaded.
`pegasus_ray.library.videos.fetching` gives one of them as a file on the machine that needs it.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import os
import re
import string
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.remote import RemoteStorage, client_errors, error_code
from pegasus_ray.schemas.errors import PegasusError, Reason

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ogv", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".mxf", ".y4m",
)  # fmt: skip
"""A folder or a pattern stands for the files with these suffixes, in capitals too. A file that is named itself may have any."""
BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Protocols of stores whose listings tell a tag of each object's content."""
TAGS = (("md5Hash", "md5"), ("crc32c", "crc32c"), ("ETag", "etag"), ("etag", "etag"))
"""What listings call their tags, the most telling first, and what an identity calls them. S3 has only the `ETag`."""
MAX_NAME_BYTES = 255
"""Longest file name that common file systems take."""

_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
_FOREIGN_ERRORS = (
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""Modules and names of errors of stores' clients that are no OSError, besides those of S3's client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One video, and what tells its content from another's.

    The address may hold credentials, so it is not part of the `repr`; `shown` makes it fit for messages and manifests.
    """

    address: str = field(repr=False)  # absolute path, or URL without its fragment
    name: str  # file name, e.g. `clip.mp4`
    identity: str  # of the content: its sha256, or `etag:<tag>:<size>`, `md5:<hex>:<size>`, `crc32c:<tag>:<size>`
    size: int | None  # bytes; None where only a fetch tells
    sha256: str = ""  # 64 hex digits; empty where only a fetch tells


def expand(reference: str) -> list[Video]:
    """The videos that a reference names, sorted by address.

    A reference is a file, a folder (the videos that lie directly in it), or a pattern with `*`, `?`, `[…]` and, for any number of
    folders, `**`; each on this machine or, as `s3://…` and `gs://…`, in a bucket. Or it is `https://…#sha256=<64 hex digits>`.

    Folders and patterns leave out names that begin with a dot. On this machine links to files are followed, since data sets are
    often laid out with them, and what they lead to is only ever decoded as a video. Links to folders below the named folder are
    not: they can lead in circles and out of the data set.

    Raises:
        PegasusError: NOT_FOUND if nothing is there, or it cannot be listed or read; BAD_CONFIG for an address that does not tell
            what content is meant, or whose protocol is not supported.
    """
    scheme, _, rest = reference.partition("://")
    if not reference or "\0" in reference:
        raise PegasusError(Reason.BAD_CONFIG, "names no video; give a file, a folder or an address", subject="a video")
    if not is_remote(reference):
        return _expand_local(reference.removeprefix("file://"))
    match scheme.lower():
        case "https":
            return [_https_video(f"https://{rest}")]
        case "s3" | "s3a" | "gs" | "gcs":
            return _expand_bucket(scheme.lower(), rest)
        case "http":
            message = "http is not encrypted; use https://…#sha256=…, or download the file and name it here"
        case _:
            message = "videos are taken from files, folders, s3://, gs:// and https://; copy it to one of these"
    raise PegasusError(Reason.BAD_CONFIG, message, subject=shown(reference))


def is_remote(reference: str) -> bool:
    """Whether a reference is a URL, and not a path of this machine."""
    return "://" in reference and not reference.startswith("file://")


def shown(reference: str) -> str:
    """A reference as messages and manifests may show it: on one line, a URL without user, password, query and fragment."""
    if is_remote(reference):
        scheme, _, rest = reference.partition("://")
        authority, slash, path = rest.partition("/")
        authority = authority.rpartition("@")[2]
        if scheme.lower() not in BUCKETS:  # whose names may contain these signs
            authority, path = (re.split(r"[?#]", part)[0] for part in (authority, path))
        # What a password with a slash in it leaves before the slash is no host: its port is no number, or an @ follows.
        port = re.fullmatch(r"(?:[^:]*|\[.*\]):(\d*)", authority)
        odd = ":" in authority and (scheme.lower() in BUCKETS or not port or "@" in path)
        reference = f"{scheme}://…" if odd else f"{scheme}://{authority}{slash}{path}"
    return "".join(letter if letter.isprintable() else "_" for letter in reference)


def fit_name(text: str) -> str:
    """The last part of a path as a file name that is safe in any folder: one line, no separators, not too long."""
    name = "".join(letter if letter.isprintable() else "_" for letter in re.split(r"[/\\]", text)[-1])
    if not name.strip("."):
        return "video"
    return name if len(name.encode()) <= MAX_NAME_BYTES else name[-(MAX_NAME_BYTES // 4) :]  # keeps the suffix


def open_store(address: str) -> tuple[RemoteStorage, str]:
    """The store of a bucket, and the path of an address in it: `bucket/key`.

    Only the bucket's name is given to fsspec to be parsed: a `::` in an object's name would lead it to other filesystems.

    Raises:
        PegasusError: BAD_CONFIG if the address names no bucket, or the client of its store is not installed.
    """
    scheme, _, path = address.partition("://")
    bucket = path.partition("/")[0]
    if not bucket or has_magic(bucket):
        raise PegasusError(Reason.BAD_CONFIG, f"name a bucket: {scheme}://BUCKET/…", subject=shown(address))
    if "@" in bucket or ":" in bucket:
        message = "credentials do not belong in an address; give them in the environment or in the store's own settings"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=f"{scheme}://…")
    try:
        return RemoteStorage(f"{scheme}://{bucket}"), path
    except PegasusError as error:
        raise PegasusError(Reason.BAD_CONFIG, error.message, subject=shown(address)) from error


def identity_of(item: dict[str, Any], subject: str) -> str:
    """The identity of an object's content, from what fsspec tells of it.

    Raises:
        PegasusError: BAD_CONFIG if it tells no tag of the content.
    """
    for name, kind in TAGS:
        tag = str(item.get(name) or "").strip('"')
        if tag:
            return f"{kind}:{_hex(tag) if kind == 'md5' else tag}:{int(item['size'])}"
    message = "its store tells no tag of the content, so a change would not be seen; download it and name the file here"
    raise PegasusError(Reason.BAD_CONFIG, message, subject=subject)


@contextmanager
def read_errors(subject: str) -> Iterator[None]:
    """Turn missing rights, files and buckets, and what is out of reach, into a PegasusError that says what to do."""
    try:
        yield
    except PermissionError as error:
        message = (
            f"access is refused ({cause_of(error)}); check the credentials or rights, which must allow to list and read"
        )
        raise PegasusError(Reason.NOT_FOUND, message, subject=subject) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "bucket" if error_code(error) == "NoSuchBucket" else "file or folder"
        raise PegasusError(Reason.NOT_FOUND, f"there is no such {what}; check the name", subject=subject) from error
    except transport_errors() as error:
        message = f"cannot be read ({cause_of(error)}); check the network and the credentials"
        raise PegasusError(Reason.NOT_FOUND, message, subject=subject) from error


def transport_errors() -> tuple[type[Exception], ...]:
    """The errors by which files, stores and servers fail. Those of clients that are not loaded are left out."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN_ERRORS]
    foreign = [error for error in found if error is not None]
    return (OSError, http.client.HTTPException, UnicodeError, *client_errors(), *foreign)


def cause_of(error: BaseException) -> str:
    """What an error says, shortened, without what may be secret in addresses."""
    reason = getattr(error, "reason", None)  # of an error of urllib
    text = str(reason or getattr(error, "strerror", None) or error) or type(error).__name__
    text = re.sub(r"(?<=://)[^\s/]*@", "", text)
    return textwrap.shorten(re.sub(r"\?[^\s'\")>]+", "?…", text), 200)


def _expand_local(reference: str) -> list[Video]:
    subject = shown(reference)
    pattern = reference.split("/")
    place = Path("/" if reference.startswith("/") else "")
    with read_errors(subject):
        if pattern[0] == "~":
            place = Path.home() / pattern.pop(0)[1:]
        while pattern and (not has_magic(pattern[0]) or (place / pattern[0]).exists()):
            place = place / pattern.pop(0)
        place = place.absolute()
        if not pattern and not place.is_dir():
            return [local_video(place)]
        pattern = pattern or ["*"]
        files = [place / name for name in sorted(_select(_names_below(place, pattern), pattern, subject))]
        # A pipe is no video. A link that leads nowhere is kept, so that it is named and not passed over.
        return [local_video(file) for file in files if file.is_file() or not file.exists()]


def local_video(path: Path) -> Video:
    """A file of this machine, hashed. Raises PegasusError NOT_FOUND if it is no file, or cannot be read."""
    subject = shown(str(path))
    if path.exists() and not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "is neither a file nor a folder; name a file", subject=subject)
    with read_errors(subject):
        digest = digest_file(path)
    return Video(address=str(path), name=fit_name(path.name), identity=digest, size=path.stat().st_size, sha256=digest)


def _names_below(place: Path, pattern: Sequence[str]) -> list[str]:
    """Paths of the files in a folder, relative to it, as deep as the pattern can reach."""

    def give_up(error: OSError) -> None:
        raise error

    names = []
    for folder, inner, files in os.walk(place, onerror=give_up):
        parts = Path(folder).relative_to(place).parts
        names += ["/".join((*parts, file)) for file in files]
        if "**" not in pattern and len(parts) + 1 >= len(pattern):
            inner.clear()
    return names


def _select(names: Iterable[str], pattern: Sequence[str], subject: str) -> list[str]:
    """Those names that match a pattern and are videos by their suffix.

    Raises:
        PegasusError: NOT_FOUND if there are none.
    """
    matching = [name for name in names if _matches(name.split("/"), pattern)]
    videos = [name for name in matching if name.lower().endswith(VIDEO_SUFFIXES)]
    if not videos:
        found = f"files, but none with a video's suffix ({' '.join(VIDEO_SUFFIXES)})" if matching else "no file"
        message = (
            f"names {found}; check it, name the files one by one, or write FOLDER/**/*.mp4 for folders in the folder"
        )
        raise PegasusError(Reason.NOT_FOUND, message, subject=subject)
    return videos


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern.

    A part that begins with a dot is matched only by one that does. Where a part does not fit, the last `**` takes one part more
    and matching goes on behind it: no recursion, since objects' names may have a thousand parts.
    """
    at = here = 0  # in the pattern, in the parts
    last, taken = -1, 0  # the last `**`, and up to where it has taken parts
    while here < len(parts):
        if at < len(pattern) and pattern[at] == "**":
            last, taken, at = at, here, at + 1
        elif at < len(pattern) and _fits(parts[here], pattern[at]):
            at, here = at + 1, here + 1
        elif last >= 0 and not parts[taken].startswith("."):
            taken += 1
            at, here = last + 1, taken
        else:
            return False
    return at == len(pattern)


def _fits(part: str, wanted: str) -> bool:
    return fnmatchcase(part, wanted) and (wanted.startswith(".") or not part.startswith("."))


def _https_video(reference: str) -> Video:
    address, _, fragment = reference.partition("#")
    address = quote(address, safe=string.punctuation)  # blanks, line ends and other letters as %XX
    digest = _DIGEST.fullmatch(fragment)
    if digest is None:
        message = (
            "the address must say which content is meant: append #sha256=<64 hex digits>, which `sha256sum FILE` prints"
        )
        raise PegasusError(Reason.BAD_CONFIG, message, subject=shown(reference))
    try:
        parsed = urlsplit(address)
        host = parsed.hostname if parsed.port != 0 else None
    except ValueError:
        host = None
    if not host:
        message = "is not a well-formed address; signs in a user's name or password are written as %XX"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=shown(reference))
    sha256 = digest[1].lower()
    name = fit_name(unquote(parsed.path).rpartition("/")[2] or host)
    return Video(address=address, name=name, identity=sha256, size=None, sha256=sha256)


def _expand_bucket(scheme: str, path: str) -> list[Video]:
    subject = shown(f"{scheme}://{path}")
    store, _ = open_store(f"{scheme}://{path}")
    pattern = path.rstrip("/").split("/")
    literal = [pattern.pop(0)]
    while pattern and not has_magic(pattern[0]):
        literal.append(pattern.pop(0))
    folder = "/".join(literal)
    with read_errors(subject):
        if not pattern and len(literal) > 1 and not path.endswith("/"):
            item = store.filesystem.info(folder)
            if item["type"] == "file":
                return [_bucket_video(scheme, folder, item)]
        pattern = pattern or ["*"]
        items = {str(item["name"]): item for item in _list(store, folder, pattern) if item["type"] == "file"}
    start = f"{folder}/"
    names = _select((name.removeprefix(start) for name in items if name.startswith(start)), pattern, subject)
    return [_bucket_video(scheme, start + name, items[start + name]) for name in sorted(names)]


def _bucket_video(scheme: str, path: str, item: dict[str, Any]) -> Video:
    address = f"{scheme}://{path}"
    return Video(
        address=address, name=fit_name(path), identity=identity_of(item, shown(address)), size=int(item["size"])
    )


def _list(store: RemoteStorage, folder: str, pattern: Sequence[str]) -> Iterable[dict[str, Any]]:
    """What lies in a folder of a bucket and, only if the pattern asks for it, in the folders within.

    It is a request for each thousand objects whose names begin like the pattern.
    """
    files, deep = store.filesystem, len(pattern) > 1 or "**" in pattern
    files.invalidate_cache()  # as for libraries: others write there too
    bucket, _, key = folder.partition("/")
    prefix = (f"{key}/" if key else "") + re.split(r"[*?\[]", pattern[0])[0]
    if store.location.startswith("s3") and prefix:  # where `ls` and `find` of a folder ask more than once
        found = files.find(bucket, prefix=prefix, detail=True, **({} if deep else {"maxdepth": 1})).values()
    else:
        found = files.find(folder, detail=True).values() if deep else files.ls(folder, detail=True)
    items: list[dict[str, Any]] = list(found)
    return items


def _hex(tag: str) -> str:
    """An md5 in hex, which stores write as base64."""
    try:
        return base64.b64decode(tag, validate=True).hex()
    except binascii.Error:
        return tag
