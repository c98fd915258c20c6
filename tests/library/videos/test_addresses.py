"""Invariants of videos by address.

Planning downloads nothing and takes one request for a thousand objects. A pattern names the same videos here and in a bucket.
Equal content on this machine and over https has equal identity. Nothing that is secret in an address is shown. Names from others
cannot lead out of the folder that they are put into.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from re import match

import fsspec
import pytest
from fsspec.utils import glob_translate
from hypothesis import example, given
from hypothesis import strategies as st
from s3fs import S3FileSystem

from pegasus_ray.library.keys import digest
from pegasus_ray.library.videos import addresses
from pegasus_ray.library.videos.addresses import Video, expand, fit_name, is_remote, shown
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.library.s3_server import Refusal, S3Server
from tests.library.videos.stand_in_store import StandInStore

DIGEST = "ab" * 32
registry = sys.modules["fsspec.registry"]  # the attribute of that name is a mapping


def names(videos: list[Video]) -> list[str]:
    return [video.name for video in videos]


def complaint(reference: str) -> PegasusError:
    with pytest.raises(PegasusError) as caught:
        expand(reference)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three videos, one of them further down, and other things."""
    for name in ("b.mp4", "a.MOV", "notes.txt", ".hidden.mp4", "more/c.mp4", "more/.cache/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def put(bucket: str, *keys: str) -> None:
    for key in keys:
        fsspec.filesystem("s3").pipe_file(f"{bucket}/{key}", key.encode())


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> type[StandInStore]:
    """A store behind gs://, which has two videos."""
    monkeypatch.setitem(registry._registry, "gs", StandInStore)
    monkeypatch.setattr(StandInStore, "objects", {"bucket/in/a.mp4": b"a", "bucket/in/deep/b.mp4": b"b"})
    return StandInStore


def test_a_file_has_its_digest_and_any_suffix(folder: Path) -> None:
    (video,) = expand(str(folder / "notes.txt"))
    expected = digest(b"notes.txt")
    assert (video.address, video.name, video.size) == (str(folder / "notes.txt"), "notes.txt", 9)
    assert video.identity == video.sha256 == expected
    assert expand(f"file://{folder}/notes.txt") == [video]
    assert pickle.loads(pickle.dumps(video)) == video


def test_addresses_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert expand("b.mp4") == expand("./*.mp4") == expand("~/b.mp4") == expand(str(folder / "b.mp4"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["a.MOV", "b.mp4"]),
        ("*", ["a.MOV", "b.mp4"]),
        ("*.mp4", ["b.mp4"]),
        ("[a-b].*", ["a.MOV", "b.mp4"]),
        (".*", [".hidden.mp4"]),
        ("**", ["a.MOV", "b.mp4", "c.mp4"]),
        ("**/*.mp4", ["b.mp4", "c.mp4"]),
        ("m*/?.mp4", ["c.mp4"]),
        ("more/.cache/*", ["d.mp4"]),
    ],
)
def test_folders_and_patterns(folder: Path, pattern: str, found: list[str]) -> None:
    assert names(expand(f"{folder}/{pattern}")) == found


def test_signs_of_patterns_in_a_name_that_is_there_are_letters(folder: Path) -> None:
    for name in ("take[1]/x.mp4", "what?.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    assert names(expand(f"{folder}/take[1]")) == names(expand(f"{folder}/take[1]/*.mp4")) == ["x.mp4"]
    assert names(expand(f"{folder}/what?.mp4")) == ["what?.mp4"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "links"
    place.mkdir()
    (place / "linked.mp4").symlink_to(folder / "b.mp4")
    (place / "circle").symlink_to(place)
    (video,) = expand(f"{place}/**")
    assert (video.address, video.sha256) == (str(place / "linked.mp4"), digest(b"b.mp4"))
    assert expand(f"{place}/circle") != [], "which is named itself"
    (place / "dead.mp4").symlink_to(folder / "gone.mp4")
    assert "dead.mp4" in str(complaint(str(place))), "it is not passed over in silence"


def test_a_pipe_is_no_video(folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    assert "pipe.mp4" not in names(expand(str(folder)))
    assert complaint(str(folder / "pipe.mp4")).reason is Reason.NOT_FOUND


def test_what_is_not_there_is_named(folder: Path) -> None:
    for reference in ("gone.mp4", "gone/*.mp4", "*.avi", "more/.cache/e*", "b.mp4/*"):
        error = complaint(f"{folder}/{reference}")
        assert (error.reason, error.subject) == (Reason.NOT_FOUND, f"{folder}/{reference}")
    assert "none with a video's suffix" in complaint(f"{folder}/*.txt").message
    assert complaint("").reason is complaint("a\0.mp4").reason is Reason.BAD_CONFIG


def test_a_file_without_rights_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(addresses, "digest_file", refuse)  # root may read everything, so that rights alone are no test
    error = complaint(str(folder))
    assert (error.reason, error.subject) == (Reason.NOT_FOUND, str(folder / "a.MOV"))


_parts = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6)
_patterns = st.lists(st.sampled_from(["a", "b", "*", "a*", "?", "[!a]", "**"]), min_size=1, max_size=5)


@given(_parts, _patterns)
@example(["a"], ["a", "**"])
def test_patterns_match_as_those_of_fsspec(parts: list[str], pattern: list[str]) -> None:
    expected = match(glob_translate("/".join(pattern)), "/".join(parts)) is not None
    assert addresses._matches(parts, pattern) == expected


def test_a_name_of_a_thousand_parts_is_matched() -> None:
    assert not addresses._matches(["a"] * 1000, ["**", "a", "**", "a", "**", "b"])


def test_five_hundred_objects_are_planned_with_one_request(server: S3Server, bucket: str) -> None:
    put(bucket, "other/x.mp4", "in/deep/y.mp4", *(f"in/{number:03}.mp4" for number in range(500)))
    for pattern, found in (("in/*.mp4", 500), ("in/", 500), ("**", 502), ("in/1*", 100), ("*/*.mp4", 501)):
        server.answered.clear()
        videos = expand(f"s3://{bucket}/{pattern}")
        assert (len(videos), len(server.answered)) == (found, 1), pattern
        assert [video.address for video in videos] == sorted(video.address for video in videos)
    assert {request.method for request in server.answered} == {"GET"}


def test_an_object_is_asked_for_once_and_is_the_same_as_in_a_listing(server: S3Server, bucket: str) -> None:
    put(bucket, "in/a.mp4", "in/notes.txt")
    server.answered.clear()
    (video,) = expand(f"s3://{bucket}/in/a.mp4")
    assert [request.method for request in server.answered] == ["HEAD"]
    assert (video.address, video.name, video.size, video.sha256) == (f"s3://{bucket}/in/a.mp4", "a.mp4", 8, "")
    assert [video] == expand(f"s3://{bucket}/in/*") == expand(f"s3://{bucket}/in") == expand(f"s3://{bucket}/**")
    kind, tag, size = video.identity.split(":")
    assert (kind, size) == ("etag", "8")
    assert '"' not in tag
    put(bucket, "in/copy.mp4")
    fsspec.filesystem("s3").pipe_file(f"{bucket}/in/a.mp4", b"in/A.mp4")
    assert expand(f"s3://{bucket}/in/a.mp4")[0].identity != video.identity


def test_folders_of_a_bucket(bucket: str) -> None:
    put(bucket, "top.mp4", "in/a.mp4", "in/.b.mp4", "in/notes.txt", "in", "inner/c.mp4", "take[1]/d.mp4")
    fsspec.filesystem("s3").call_s3(
        "put_object", Bucket=bucket, Key="made/", Body=b""
    )  # as S3's console makes a folder
    assert names(expand(f"s3://{bucket}")) == names(expand(f"s3://{bucket}/")) == ["top.mp4"]
    assert names(expand(f"s3://{bucket}/in/")) == ["a.mp4"]
    assert names(expand(f"s3://{bucket}/in")) == ["in"], "an object of that name comes first"
    assert names(expand(f"s3://{bucket}/take[[]1]/*")) == ["d.mp4"]
    for nothing in ("made/", "gone", "gone.mp4", "in/*.avi", "in/*.txt", "*/*/*"):
        error = complaint(f"s3://{bucket}/{nothing}")
        assert (error.reason, error.subject) == (Reason.NOT_FOUND, f"s3://{bucket}/{nothing}")


def test_objects_with_odd_names_are_found_as_they_are(bucket: str, google: type[StandInStore]) -> None:
    keys = ["in/a b#c%20?.mp4", "in/x::file:/etc/passwd.mp4", "in//two.mp4", "in/ü.mp4"]
    put(bucket, *keys)
    found = expand(f"s3://{bucket}/in/**")
    assert sorted(video.address for video in found) == sorted(f"s3://{bucket}/{key}" for key in keys)
    assert "passwd.mp4" in names(found)
    google.objects["bucket/in/line\nend.mp4"] = b"c"  # which the server of these tests cannot take
    assert [(video.address, video.name) for video in expand("gs://bucket/in/l*")] == [
        ("gs://bucket/in/line\nend.mp4", "line_end.mp4")
    ]


def test_what_is_wrong_with_a_store_is_named(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, "a.mp4")
    for reference in (f"s3://{bucket}/a.mp4", f"s3://{bucket}/*"):
        with server.refusing(lambda request: Refusal(403, "AccessDenied")):
            assert "access is refused" in complaint(reference).message
    assert "no such bucket" in complaint("s3://nobody-made-this/*").message
    assert "no such bucket" in complaint("s3://nobody-made-this/a.mp4").message
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        S3FileSystem.clear_instance_cache()
        assert "credentials" in complaint(f"s3://{bucket}/*").message
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # where nothing answers
        patch.setattr(S3FileSystem, "retries", 1)
        S3FileSystem.clear_instance_cache()
        assert "network" in complaint(f"s3://{bucket}/*").message
    S3FileSystem.clear_instance_cache()


def test_google_tells_an_md5(google: type[StandInStore]) -> None:
    (video,) = expand("gs://bucket/in/*.mp4")
    assert (video.address, video.identity) == ("gs://bucket/in/a.mp4", "md5:0cc175b9c0f1b6a831c399e269772661:1")
    assert names(expand("gs://bucket/**")) == ["a.mp4", "b.mp4"]
    assert expand("gs://bucket/in/a.mp4") == expand("gs://bucket/in") == [video]


def test_a_store_without_tags_is_refused(google: type[StandInStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google, "tag", "")
    for reference in ("gs://bucket/in/*.mp4", "gs://bucket/in/a.mp4"):
        assert complaint(reference).reason is Reason.BAD_CONFIG
    monkeypatch.setattr(google, "tag", "crc32c")
    assert expand("gs://bucket/in/a.mp4")[0].identity.startswith("crc32c:")


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.known_implementations, "gcs", {"class": "no_such.Client", "err": "install it"})
    error = complaint("gcs://bucket/a.mp4")
    assert (error.reason, "install it" in error.message) == (Reason.BAD_CONFIG, True)


def test_https_needs_a_digest_and_has_the_identity_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    (local,) = expand(str(tmp_path / "clip.mp4"))
    (video,) = expand(f"HTTPS://host/a/my%20clip.mp4?key=1#sha256={local.sha256.upper()}")
    assert (video.identity, video.sha256, video.size) == (local.identity, local.sha256, None)
    assert (video.address, video.name) == ("https://host/a/my%20clip.mp4?key=1", "my clip.mp4")
    for fragment in ("", "#", f"#{DIGEST}", "#sha256=ab", f"#sha256={DIGEST}0", f"#md5={DIGEST}"):
        error = complaint(f"https://host/clip.mp4{fragment}")
        assert (error.reason, "#sha256=" in error.message) == (Reason.BAD_CONFIG, True)
    for address in ("https://", "https:///clip.mp4", "https://host:port/x", "https://[::1/x"):
        assert complaint(f"{address}#sha256={DIGEST}").reason is Reason.BAD_CONFIG


def test_signs_that_could_end_a_request_are_encoded() -> None:
    (video,) = expand(f"https://host/ü b\r\nX: y.mp4#sha256={DIGEST}")
    assert video.address == "https://host/%C3%BC%20b%0D%0AX:%20y.mp4"
    assert video.name == "ü b__X: y.mp4"


@pytest.mark.parametrize(
    "reference", ["http://host/a.mp4", "ftp://u:p@host/a", "memory://a/b.mp4", "s3://", "s3://*/a"]
)
def test_other_addresses_are_refused(reference: str) -> None:
    assert complaint(reference).reason is Reason.BAD_CONFIG


SECRETS = (
    "https://user:s3cret@host/clip.mp4",
    "https://user:s3cret/more@host/clip.mp4",
    "https://user:12/s3cret@host/clip.mp4",
    "https://s3cret@host?sign=s3cret",
    "https://host/clip.mp4?sign=s3cret&more=/s3cret",
    "ftp://user:s3cret@host/clip.mp4",
    "s3://KEY:s3cret@bucket/clip.mp4",
    "s3://KEY:abc/s3cret@bucket/clip.mp4",
)


@pytest.mark.parametrize("reference", SECRETS)
def test_secrets_are_not_shown(reference: str) -> None:
    assert "s3cret" not in shown(reference)
    assert "s3cret" not in str(complaint(reference))


def test_causes_are_told_without_secrets() -> None:
    error = OSError("no answer from https://user:s3cret@host/clip.mp4?sign=s3cret,\nwhich was asked twice")
    assert addresses.cause_of(error) == "no answer from https://host/clip.mp4?… which was asked twice"


def test_what_is_shown_and_what_is_not() -> None:
    assert shown("https://user:pass@host:8443/a/b.mp4?sign=1#sha256=2") == "https://host:8443/a/b.mp4"
    assert shown("https://[::1]:80/b.mp4") == "https://[::1]:80/b.mp4"
    assert shown("s3://bucket/a#b?.mp4") == "s3://bucket/a#b?.mp4"
    assert shown("folder/a?\n.mp4") == "folder/a?_.mp4"
    (video,) = expand(f"https://user:s3cret@host/clip.mp4#sha256={DIGEST}")
    assert "s3cret" not in repr(video)
    assert (is_remote("s3://b/k"), is_remote("file:///k"), is_remote("a/b")) == (True, False, False)


@given(st.text())
def test_names_stay_in_their_folder(text: str) -> None:
    name = fit_name(text)
    assert Path("/folder", name).resolve().parent == Path("/folder")
    assert name.isprintable()
    assert 0 < len(name.encode()) <= addresses.MAX_NAME_BYTES


def test_a_long_name_keeps_its_suffix() -> None:
    assert fit_name("ü" * 300 + ".mp4").endswith("ü.mp4")
