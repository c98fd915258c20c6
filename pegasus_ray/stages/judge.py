"""Scoring swapped frames with networks that were trained on photographs.

A face parser tells whether the part is seen where it was put, and a recognition network whether the person is still the same.
If this machine lacks a network, its score is NaN and does not count.

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
"""A part with fewer pixels (closed eyes, a nose in profile) is not judged by the parser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Which networks judge: `auto` takes those that this machine has, `none` takes none."""

    parser: str = "auto"
    identity: str = "auto"

    def __post_init__(self) -> None:
        if self.parser not in ("auto", "bisenet", "none"):
            raise PegasusError(
                Reason.BAD_CONFIG, "choose auto, bisenet or none", subject=f"swap.judge.parser={self.parser}"
            )


def judge_models(config: JudgeConfig) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of the model files that judge on this machine."""
    names = [BISENET_MODEL if _with_parser(config) else None, identity_file(config.identity)]
    return tuple((name, digest_of(name)) for name in names if name)


def _with_parser(config: JudgeConfig) -> bool:
    """Whether a parser is configured, and for `auto` also its file there."""
    return config.parser == "bisenet" or (config.parser == "auto" and available(BISENET_MODEL))


class Judge:
    """The networks that this machine has of those configured, loaded once; a call scores frames."""

    def __init__(self, config: JudgeConfig) -> None:
        self.parser: FaceParser | None = BisenetParser(threads=1) if _with_parser(config) else None
        self.identity: IdentityModel | None = identity_model_of(config.identity)

    def __call__(
        self,
        rows: Track,
        images: Bytes,  # (T, S, S, 3) the swapped frames
        part_masks: Bytes,  # (T, S, S)
        object_masks: Bytes,  # (T, S, S)
        attribute: Attribute,
    ) -> dict[str, Floats]:
        """A score for each frame, 0–1 or NaN, (T,) each.

        `agreement` is the intersection over union of the borrowed part and of what the parser labels as that part. `identity`
        is 1 up to the embedding distance at which two pictures still count as one person, and falls to 0 at twice that
        distance.
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
    """One number per frame, (T,) 0–1: coverage × seam, multiplied by ½ to 1 for each network's score."""
    quality = scores["coverage"] * scores["seam"]
    for name in ("agreement", "identity"):
        quality = quality * np.where(np.isnan(scores[name]), 1, 0.5 + 0.5 * scores[name])
    return np.asarray(quality, np.float32)
