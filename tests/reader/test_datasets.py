"""The package `datasets` reads a library's files as they are: pictures are pictures, lists keep their length, every row comes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pegasus_ray
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.reader.small import ADA, FRAMES, SWAPS, track_of


@pytest.mark.parametrize("streaming", [True, False])
def test_its_own_call_reads_the_files(shared: Path, datasets: Any, streaming: bool) -> None:
    library = pegasus_ray.open(shared)
    files = library.swaps(attribute="hair").files()
    assert all(Path(file).is_file() for file in files) and len(files) == 6
    rows = datasets.load_dataset("parquet", data_files=files, streaming=streaming)["train"]
    assert rows.features["image"] == datasets.Image()
    assert rows.features["head"] == datasets.List(datasets.Value("float32"), length=6)
    read = list(rows)
    assert len(read) == 2 * FRAMES
    swap = load_swap(Library(shared), next(iter(SWAPS)))
    row = read[0]
    np.testing.assert_array_equal(np.asarray(row["image"]), swap.images[row["index"]])
    np.testing.assert_array_equal(np.asarray(row["part_mask"]), swap.part_masks[row["index"]])
    np.testing.assert_array_equal(np.float32(row["camera"]), swap.camera[row["index"]])


@pytest.mark.parametrize("streaming", [True, False])
def test_so_does_ours(shared: Path, datasets: Any, streaming: bool) -> None:
    tracks = pegasus_ray.open(shared).tracks
    rows = list(tracks.to_datasets(["image", "index"], streaming=streaming))
    assert len(rows) == 15 and set(rows[0]) == {"image", "index"}
    np.testing.assert_array_equal(np.asarray(rows[1]["image"]), track_of(0).images[1])
    everything = tracks.to_datasets(streaming=streaming)
    assert tuple(everything.features) == tracks.columns, "also where one has an identity and another has none"
    assert len(list(everything)) == 15


def test_nothing_to_read_and_a_missing_package_are_said(
    shared: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swaps = pegasus_ray.open(shared).swaps
    with pytest.raises(PegasusError, match="nothing to read"):
        swaps(target="bert").to_datasets()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PegasusError) as caught:
        swaps(target=ADA.name).to_datasets()
    assert caught.value.reason is Reason.ASSET_MISSING and "pip install datasets" in str(caught.value)
