"""Small videos that tests write."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, *, frames: int, width: int = 64, height: int = 48, fps: float = 25.0) -> Path:
    """A grey picture whose brightness is the frame's number times four, with its upper left quarter white."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for index in range(frames):
        image = np.full((height, width, 3), min(4 * index, 200), np.uint8)
        image[: height // 2, : width // 2] = 255
        writer.write(image)
    writer.release()
    return path


def turn(path: Path) -> None:
    """Write into the track header that the picture is to be turned by a quarter clockwise, as telephones do."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd")
    matrix = header + 4 + 4 + 4 * 4 + 4 + 8 + 2 * 4  # version, times, track, duration, reserved, layer and volume
    one, corner = 1 << 16, 1 << 30
    width = struct.unpack(">I", content[matrix + 40 : matrix + 44])[0]  # height field: the turned picture's width
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, width, 0, corner)
    path.write_bytes(bytes(content))


def hasten(path: Path, *, first: int, factor: int) -> None:
    """Write into the table of times that the first frames are shown for that part of the time only."""
    content = bytearray(path.read_bytes())
    table = content.index(b"stts") + 4
    entries, count, step = struct.unpack(">3I", content[table + 4 : table + 16])
    assert entries == 1
    size = struct.unpack(">I", content[table - 8 : table - 4])[0]
    content[table + 4 : table + 16] = struct.pack(">5I", 2, first, step // factor, count - first, step)
    content[table - 8 : table - 4] = struct.pack(">I", size + 8)
    at = 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):  # each holds the next, and the table
        at = content.index(name, at)
        content[at - 4 : at] = struct.pack(">I", struct.unpack(">I", content[at - 4 : at])[0] + 8)
    path.write_bytes(bytes(content))
