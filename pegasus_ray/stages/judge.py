"""How good a swapped frame is, by nets that were trained on photographs: does a face parser see the part where it was put, and
does a recognition net still see the same person?

Which nets a machine has decides what is measured; what is not measured is NaN and does not count.

Legend: T frames, S side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pegasus_ray.library.performance import Floats
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.perception.assets.files import available, digest_of
from pegasus_ray.perception.nets.bisenet import BISENET_MODEL, BisenetParser
from pegasus_ray.perception.nets.identity import IdentityModel, identity_file, identity_model_of
from pegasus_ray.perception.nets.parser import FaceParser
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, labels_of

LEAST_PIXELS: Final = 12
"""A part of fewer pixels (closed eyes, a nose seen from aside) is not judged by a parser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Which nets judge: `auto` takes those that this machine has, `none` takes none."""

    parser: str = "auto"
    identity: str = "auto"

    def __post_init__(self) -> None:
        if self.parser not in ("auto", "bisenet", "none"):
            raise PegasusError(
                Reason.BAD_CONFIG, "choose auto, bisenet or none", subject=f"swap.judge.parser={self.parser}"
            )


def judge_models(config: JudgeConfig) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of the model files that judge on this machine."""
    parser = config.parser == "bisenet" or (config.parser == "auto" and available(BISENET_MODEL))
    names = [BISENET_MODEL if parser else None, identity_file(config.identity)]
    return tuple((name, digest_of(name)) for name in names if name)


class Judge:
    """The nets, loaded once."""

    def __init__(self, config: JudgeConfig) -> None:
        with_parser = config.parser == "bisenet" or (config.parser == "auto" and available(BISENET_MODEL))
        self.parser: FaceParser | None = BisenetParser(threads=1) if with_parser else None
        self.identity: IdentityModel | None = identity_model_of(config.identity)

    def __call__(
        self,
        rows: Track,
        images: Bytes,  # (T, S, S, 3) the swapped frames
        part_masks: Bytes,  # (T, S, S)
        object_masks: Bytes,  # (T, S, S)
        attribute: Attribute,
    ) -> dict[str, Floats]:
        """Scores a frame, 0–1 or NaN, (T,) each.

        `agreement`: of the borrowed part's pixels and those that the parser takes for that part near it, the share on which
        both agree. `identity`: 1 while a recognition net sees the person of the untouched frame, falling to 0 at twice the
        distance at which it begins to see another.
        """
        return {
            "agreement": self._agreement(rows, images, part_masks, object_masks, attribute),
            "identity": self._identity(rows, images),
        }

    def _agreement(
        self, rows: Track, images: Bytes, part_masks: Bytes, object_masks: Bytes, attribute: Attribute
    ) -> Floats:
        scores = np.full(len(images), np.nan, np.float32)
        if self.parser is None:
            return scores
        for index, image in enumerate(images):
            mine = part_masks[index] > 127
            if mine.sum() < LEAST_PIXELS:
                continue
            labels = self.parser(image, rows.landmarks[index] * len(image), object_masks[index])
            theirs = np.isin(labels, labels_of(attribute.part))
            scores[index] = (mine & theirs).sum() / (mine | theirs).sum()
        return scores

    def _identity(self, rows: Track, images: Bytes) -> Floats:
        if self.identity is None:
            return np.full(len(images), np.nan, np.float32)
        before = self.identity.embed(rows.on_white(), rows.landmarks)
        after = self.identity.embed(images, rows.landmarks)
        apart = np.linalg.norm(after - before, axis=1)
        return np.asarray(np.clip(2 - apart / self.identity.limit, 0, 1), np.float32)


def quality_of(scores: dict[str, Floats]) -> Floats:
    """One number a frame, (T,) 0–1: coverage × seam, lowered by up to half by each net that disagrees."""
    quality = scores["coverage"] * scores["seam"]
    for name in ("agreement", "identity"):
        quality = quality * np.where(np.isnan(scores[name]), 1, 0.5 + 0.5 * scores[name])
    return np.asarray(quality, np.float32)
