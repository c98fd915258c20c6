"""Which files are given to FFmpeg: containers of pictures, by their first bytes, and never a list of other files or addresses.

FFmpeg recognises a file by its content. A text file named `clip.mp4` may be a playlist, through which it would open other files
of this machine or addresses on the network. So a file's first bytes are looked at before FFmpeg sees it, and FFmpeg is told
which formats and protocols it may use.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pegasus_ray.schemas.errors import PegasusError, Reason

HEAD_BYTES: Final = 1024
"""Bytes of a file that are looked at."""
SIGNATURES: Final = (
    *((4, box) for box in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")),  # mp4, mov, 3gp
    (0, b"\x1aE\xdf\xa3"),  # Matroska, webm
    (8, b"AVI "),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # wmv
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3"),  # MPEG video without a container
    (0, b"\x06\x0e\x2b\x34"),  # mxf
    (0, b"GIF8"),
    (0, b"YUV4MPEG2 "),
)
"""(offset, bytes) near the beginning of a container file."""
TRANSPORT_PACKETS: Final = ((0, 188), (4, 192))
"""(offset, length) of the packets of an MPEG transport stream, of a broadcast and of a camera; each begins with the letter G."""
MIN_PACKETS: Final = 3
"""Packets that a transport stream has at least: two tables that describe it, and a picture."""
DEMUXERS: Final = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "ogg", "flv", "live_flv", "asf", "mpeg", "mpegvideo",
    "mpegts", "mxf", "gif", "yuv4mpegpipe",
)  # fmt: skip
"""FFmpeg's names of the formats of `SIGNATURES`. None of those that open other files (hls, concat, dash, sdp, image2) is among
them."""
PLAYLISTS: Final = {
    b"#EXTM3U": "an m3u playlist",
    b"ffconcat": "a list of FFmpeg's concat",
    b"v=0": "a session description (SDP)",
    b"<?xml": "an XML file",
    b"<MPD": "a DASH manifest",
    b"<smil": "a SMIL playlist",
    b"[playlist]": "a pls playlist",
    b"[Reference]": "an asx playlist",
    b"<asx": "an asx playlist",
    b"RTSPtext": "a reference to a stream",
}
"""How text files begin that name other files; for the message."""
SETTING: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""The environment variable from which OpenCV takes options for FFmpeg: `name;value|name;value`."""
OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS)}


def check_container(path: Path) -> None:
    """Refuse a file that does not begin like a video.

    Raises:
        PegasusError: NOT_A_VIDEO, naming what the file is where that is known.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if any(head[at : at + len(mark)] == mark for at, mark in SIGNATURES):
        return
    starts = [head[at::length] for at, length in TRANSPORT_PACKETS]  # the first byte of each packet
    if any(len(firsts) >= MIN_PACKETS and set(firsts) == {ord("G")} for firsts in starts):
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((name for start, name in PLAYLISTS.items() if text[: len(start)].lower() == start.lower()), "")
    if kind:
        message = f"is {kind}, which names other files; give the video itself, as one file"
    else:
        message = "is not a video, whatever its name says; `ffmpeg -i FILE out.mp4` makes one of what FFmpeg can read"
    raise PegasusError(Reason.NOT_A_VIDEO, message, subject=str(path))


def restrict_ffmpeg() -> None:
    """Tell OpenCV's FFmpeg, for this process, which formats and protocols it may use; what the user has set for it stays."""
    given = [part for part in os.environ.get(SETTING, "").split("|") if part]
    names = {part.partition(";")[0] for part in given}
    added = [f"{name};{value}" for name, value in OPTIONS.items() if name not in names]
    if added:
        os.environ[SETTING] = "|".join([*given, *added])
