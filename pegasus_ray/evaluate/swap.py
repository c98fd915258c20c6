"""`evaluate swap`: part-swapped frames compared with the true picture of the target with the borrowed part.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pegasus_ray.evaluate.exam import Exam
from pegasus_ray.evaluate.regions import dilate, head_box, psnr_of, where_is
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Label
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.swap import Swapper, bald_frames
from pegasus_ray.studio.person import HairStyle, Person

OUTSIDE_MARGIN = 0.06
"""Share of the side by which the parts are dilated; outside of them nothing may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapScore:
    """Figures of one attribute: means over targets, sources and frames, except for the counted pixels."""

    psnr_part: float  # dB against the truth, inside the target's own part and the true borrowed one
    psnr_part_unchanged: float  # dB there of the target as they are
    psnr_part_paste: float  # dB there of a plain paste: the own part not removed, no holes closed, nothing blended
    psnr_head: float  # dB over the box around the head
    outside_changed_pixels: int
    """Pixels of all frames that changed outside of both parts (of a hat: and the hair), dilated by `OUTSIDE_MARGIN`."""
    pairs: Mapping[str, float] = field(default_factory=dict)  # psnr_part by "target ← source"

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "psnr_part": self.psnr_part,
            "psnr_part_unchanged": self.psnr_part_unchanged,
            "psnr_part_paste": self.psnr_part_paste,
            "psnr_head": self.psnr_head,
            "outside_changed_pixels": self.outside_changed_pixels,
            "pairs": dict(self.pairs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReport:
    """Figures of all attributes, and how well heads are made bald."""

    attributes: Mapping[Attribute, SwapScore]
    bald_psnr_scalp: float  # dB against the true bald head, where the hair was and skin is
    sheets: Mapping[Attribute, Bytes]  # to look at: target, plain paste, swap and truth of each pair's first frame
    lacking: tuple[str, ...]  # pairs left out, because the lender's avatar does not show the attribute

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {attribute.value: score.facts() for attribute, score in self.attributes.items()}


def evaluate_swap(exam: Exam, library: Library, progress: Progress | None = None) -> SwapReport:
    """Swap on studio people whose tracks and avatars the library holds (`Exam.plan`), and compare with the truth.

    Raises:
        PegasusError: BAD_REFERENCE where a track or an avatar is not made, MISSING_ATTRIBUTE where nobody has anything to lend.
    """
    lacking: list[str] = []
    report = progress or (lambda share, text: None)
    rounds = [(a, target, source) for a in exam.attributes for target in exam.targets for source in exam.sources]
    figures: dict[Attribute, list[dict[str, float]]] = {attribute: [] for attribute in exam.attributes}
    pairs: dict[Attribute, dict[str, float]] = {attribute: {} for attribute in exam.attributes}
    strips: dict[Attribute, list[Bytes]] = {attribute: [] for attribute in exam.attributes}
    for number, (attribute, target, source) in enumerate(rounds):
        report(number / len(rounds), f"{attribute} of {source.name} on {target.name}")
        try:
            found, strip = _evaluate_pair(exam, library, attribute, target, source)
        except PegasusError as error:
            if error.reason is not Reason.MISSING_ATTRIBUTE:
                raise
            lacking.append(f"{attribute} of {source.name}")
            continue
        figures[attribute] += found
        pairs[attribute][f"{target.name} ← {source.name}"] = float(np.mean([row["part"] for row in found]))
        strips[attribute].append(strip)
    empty = [attribute.value for attribute, rows in figures.items() if not rows]
    if empty:
        message = f"no lender's avatar shows {', '.join(empty)}; give more --sources, or another --seed"
        raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject="evaluate swap")
    report(1.0, "bald heads")
    bald = [value for target in exam.targets for value in _score_bald_frames(exam, library, target)]
    return SwapReport(
        attributes={attribute: _mean_score(rows, pairs[attribute]) for attribute, rows in figures.items()},
        bald_psnr_scalp=float(np.mean(bald)),
        sheets={attribute: np.concatenate(rows, axis=0) for attribute, rows in strips.items()},
        lacking=tuple(dict.fromkeys(lacking)),
    )


def _evaluate_pair(
    exam: Exam, library: Library, attribute: Attribute, target: Person, source: Person
) -> tuple[list[dict[str, float]], Bytes]:
    """Make one swap. Returns each frame's figures, and the first frame to look at: target, plain paste, swap, truth."""
    lender, track = exam.lender(source, attribute), exam.track(library, target)
    swapper = Swapper(track, exam.avatar(library, target), exam.avatar(library, lender), attribute, exam.pipeline.swap)
    frames = exam.seen_frames(track)
    truth = exam.truth(target, frames, attribute, lender)
    own, made, pasted = track.select(frames), swapper(frames), swapper.paste(frames)
    rows = score_swap(own, made, pasted, truth, attribute)
    return rows, np.concatenate([own.on_white()[0], pasted[0], made.images[0], truth.on_white()[0]], axis=1)


def score_swap(own: Track, made: Swap, pasted: Bytes, truth: Track, attribute: Attribute) -> list[dict[str, float]]:
    """Compare swapped frames and plain pastes (T, S, S, 3) with the truth.

    Returns:
        a row for each frame that shows the part: `part`, `unchanged`, `paste` and `head` in dB, and the count `outside`, as
        `SwapScore` explains them.
    """
    before, after, rows = own.on_white(), truth.on_white(), []
    for index in range(len(own)):
        mine, theirs = where_is(own.parts[index], attribute), where_is(truth.parts[index], attribute)
        region = mine | theirs
        if not region.any():
            continue
        pressed_hair = where_is(own.parts[index], Attribute.HAIR) & (attribute is Attribute.HAT)
        near = dilate(region | (made.part_masks[index] > 127) | pressed_hair, OUTSIDE_MARGIN)
        rows.append(
            {
                "part": psnr_of(made.images[index], after[index], region),
                "unchanged": psnr_of(before[index], after[index], region),
                "paste": psnr_of(pasted[index], after[index], region),
                "head": psnr_of(made.images[index], after[index], head_box(truth.parts[index])),
                "outside": float(((made.images[index] != before[index]).any(-1) & ~near).sum()),
            }
        )
    return rows


def _score_bald_frames(exam: Exam, library: Library, target: Person) -> list[float]:
    """PSNR of each frame of the target made bald, on the scalp: where the target has hair and the true bald head has skin."""
    track = exam.track(library, target)
    frames = exam.seen_frames(track)
    own, truth = track.select(frames), exam.truth(target, frames, None, bald_person(target))
    made = bald_frames(track, exam.avatar(library, target), exam.pipeline.swap, frames)
    scores = []
    for index in range(len(frames)):
        scalp = where_is(own.parts[index], Attribute.HAIR) & (truth.parts[index] == Label.SKIN)
        if scalp.any():
            scores.append(psnr_of(made[index], truth.on_white()[index], scalp))
    return scores


def bald_person(someone: Person) -> Person:
    """The same person without hair."""
    return replace(someone, name=f"{someone.name}-bald", hair=replace(someone.hair, style=HairStyle.BALD))


def _mean_score(rows: Sequence[Mapping[str, float]], pairs: Mapping[str, float]) -> SwapScore:
    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    return SwapScore(
        psnr_part=mean("part"),
        psnr_part_unchanged=mean("unchanged"),
        psnr_part_paste=mean("paste"),
        psnr_head=mean("head"),
        outside_changed_pixels=int(sum(row["outside"] for row in rows)),
        pairs=pairs,
    )
