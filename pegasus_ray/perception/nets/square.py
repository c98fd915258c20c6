"""A square region of a picture, and how it is cut out.

Picture coordinates are pixels from the corner of the first pixel, x right, y down: pixel centres lie at +.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A square that may be rotated and may reach beyond the picture."""

    x: float  # centre
    y: float
    side: float
    angle: float = 0.0  # radians, of its x axis, clockwise on the picture

    def matrix(self, size: int) -> Floats:
        """The transform (2, 3) from picture coordinates to coordinates in the square drawn with `size` pixels a side."""
        scale = size / self.side
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        offset = size / 2 - turn @ np.array([self.x, self.y])
        return np.column_stack([turn, offset]).astype(np.float32)

    def sample(self, image: Bytes, size: int) -> Bytes:
        """The region as (size, size, C). Beyond the picture its border pixels are repeated."""
        times = int(self.side / size)
        if times > 1:  # linear interpolation alone would skip pixels
            height, width = image.shape[0] // times, image.shape[1] // times
            shrunk = cv2.resize(image[: height * times, : width * times], (width, height), interpolation=cv2.INTER_AREA)
            small = replace(self, x=self.x / times, y=self.y / times, side=self.side / times)
            return small.sample(np.asarray(shrunk), size)
        linear, offset = self.matrix(size)[:, :2], self.matrix(size)[:, 2]
        centred = np.column_stack([linear, offset + linear @ np.full(2, 0.5) - 0.5])  # OpenCV counts from pixel centres
        blur = 0.5 * (self.side / size - 1.0)
        smooth = cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.2 else image
        return np.asarray(
            cv2.warpAffine(smooth, centred, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )

    def to_picture(self, points: Floats, size: int) -> Floats:
        """Points (N, 2) in the square drawn with `size` pixels a side, in picture coordinates."""
        matrix = self.matrix(size).astype(np.float64)
        return ((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.float32)
