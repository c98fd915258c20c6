"""Codes of a generative avatar as people write them: mixes of two codes, and pairs of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegasus_ray.schemas.errors import PegasusError, Reason

CodePair = tuple[str, str]
"""Names of two codes of one attribute: each an avatar that the model has learned from, or `own`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMix:
    """A code between two codes of one attribute."""

    first: str  # an avatar that the model has learned from, or `own`
    second: str
    share: float  # of the second: 0 is the first code, 1 the second


def parse_code_mix(text: str) -> CodeMix:
    """Read a mix written `FIRST:SECOND:SHARE`.

    Raises:
        PegasusError: BAD_CONFIG for anything else.
    """
    first, second, share = _colon_separated(text, 3) or ("", "", "")
    try:
        number = float(share)
    except ValueError:
        number = float("nan")
    if not first or not second or not np.isfinite(number):
        message = "write FIRST:SECOND:SHARE, as anna:bert:0.5; `own` is the person's own"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=text)
    return CodeMix(first=first, second=second, share=number)


def parse_code_pair(text: str) -> CodePair:
    """Read a pair written `FIRST:SECOND`.

    Raises:
        PegasusError: BAD_CONFIG for anything else.
    """
    first, second = _colon_separated(text, 2) or ("", "")
    if not first or not second:
        message = "write FIRST:SECOND, as own:anna; `own` is the person's own"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=text)
    return first, second


def _colon_separated(text: str, count: int) -> list[str] | None:
    """The texts between colons, None if there are not exactly `count`."""
    fields = text.split(":")
    return fields if len(fields) == count else None
