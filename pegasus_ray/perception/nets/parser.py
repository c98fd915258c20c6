"""Which face parser a configuration means: a segmentation network, or without its file the landmarks' polygons."""

from __future__ import annotations

from typing import Final, Protocol

from pegasus_ray.perception.assets.files import available, path_of
from pegasus_ray.perception.nets.bisenet import BISENET_MODEL, BisenetParser
from pegasus_ray.perception.nets.landmark_parser import HAIR_MODEL, HairModel, LandmarkParser
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

SEGFORMER_FILES: Final = ("segformer-face-parsing/config.json", "segformer-face-parsing/model.safetensors")


class FaceParser(Protocol):
    """Says which part of the person each pixel shows."""

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W) of a frame; W is its side in pixels.

        Args:
            rgb: the frame, (W, W, 3).
            points: the face's landmarks, (478, 2) pixels.
            matte: opacity of the person, (W, W).
        """
        ...


def parser_of(name: str, *, threads: int = 2) -> FaceParser:
    """The parser of that name.

    Args:
        name: `bisenet`, `segformer`, `landmarks`, or `auto`: bisenet where this machine has its file, else landmarks.
        threads: how many threads its networks may use.

    Raises:
        PegasusError: BAD_CONFIG for another name, ASSET_MISSING where its file or package is not here.
    """
    if name == "auto":
        name = "bisenet" if available(BISENET_MODEL) else "landmarks"
    if name == "bisenet":
        return BisenetParser(threads=threads)
    if name == "segformer":
        from pegasus_ray.perception.nets.segformer import SegformerParser  # transformers: an extra, and slow to import

        return SegformerParser(path_of(SEGFORMER_FILES[1]).parent)
    if name == "landmarks":
        return LandmarkParser(HairModel(threads=threads) if available(HAIR_MODEL) else None)
    raise PegasusError(Reason.BAD_CONFIG, "is no parser; there are: auto, bisenet, segformer, landmarks", subject=name)


def parser_files(name: str) -> tuple[str, ...]:
    """The assets that the parser of that name would read on this machine."""
    if name == "segformer":
        return SEGFORMER_FILES
    if name == "bisenet" or (name == "auto" and available(BISENET_MODEL)):
        return (BISENET_MODEL,)
    return (HAIR_MODEL,) if available(HAIR_MODEL) else ()
