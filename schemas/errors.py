"""Errors as typed values: each names the input, what is wrong with it, and what to do."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an item failed. The values are those of `failed[].reason` in `--json` and of the ledger."""

    NOT_FOUND = "not_found"
    EMPTY_FILE = "empty_file"
    NOT_A_VIDEO = "not_a_video"
    TRUNCATED = "truncated"
    NO_FACE = "no_face"
    TOO_FEW_FRAMES = "too_few_frames"
    SEVERAL_PEOPLE = "several_people"
    ASSET_MISSING = "asset_missing"
    ASSET_CORRUPT = "asset_corrupt"
    BAD_LIBRARY = "bad_library"
    BAD_CONFIG = "bad_config"
    BAD_REFERENCE = "bad_reference"
    MISSING_ATTRIBUTE = "missing_attribute"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    WORKER_DIED = "worker_died"
    TIMED_OUT = "timed_out"
    CORRUPT = "corrupt"
    INTERNAL = "internal"


class DropReason(StrEnum):
    """Why a frame of a video was examined and left out of the track."""

    NO_FACE = "no_face"  # none at all, or not that of the person who is followed
    ANOTHER_SHOT = "another_shot"  # before or after a cut
    LEAVES_PICTURE = "leaves_picture"  # part or all of the face lies beyond the border
    OUTSIDE_CROP = "outside_crop"  # too far from where the head is most of the time
    IMPLAUSIBLE = "implausible"  # the landmarks do not form a face of this person


class PegasusError(Exception):
    """A failure that a user can act on.

    Args:
        reason: the machine-readable kind.
        message: one sentence: what happened and what to do.
        subject: the input it is about (a path, a key, an option), if there is one.
    """

    def __init__(self, reason: Reason, message: str, *, subject: str = "") -> None:
        super().__init__(reason, message, subject)
        self.reason = reason
        self.message = message
        self.subject = subject

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}" if self.subject else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the keyword-only argument too, so that the error passes between Ray processes complete."""
        return (_rebuild, (self.reason, self.message, self.subject))


def _rebuild(reason: Reason, message: str, subject: str) -> PegasusError:
    return PegasusError(reason, message, subject=subject)
