"""`evaluate transfer`: an attribute on a new user, compared with the true picture of the user with it.

Each attribute is transferred twice: from a generative avatar under the code of a source, and from the source's own avatar.

Legend: T frames, S side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import EVERYTHING, render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.evaluate.exam import Exam
from pegasus_ray.evaluate.generative import edit_block
from pegasus_ray.evaluate.regions import dilate, mean_psnr, parts_of, where_is
from pegasus_ray.evaluate.swap import OUTSIDE_MARGIN
from pegasus_ray.jobs.results import read_avatar, read_generative
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import dressed, transfer
from pegasus_ray.studio.person import Person

GIVERS: Final = ("from_generative", "from_avatar")
"""What an attribute is transferred from: a generative avatar, or the avatar of a single source."""
HALF_COVERED: Final = 0.5
"""Share of a pixel from which on a part counts as drawn there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WornScore:
    """Figures of one attribute, or of all: means over users, sources and frames, except for the greatest difference."""

    psnr_truth: float  # dB against the truth, in the user's own part and the true borrowed one
    psnr_unchanged: float  # dB there of the user's avatar as it was
    psnr_generative: float  # dB that the generative avatar reaches under the same code against its own truth
    outside_max_difference: float
    """Greatest change of a colour, in 1/255, outside of the true and the drawn parts (of a hat: and the hair), dilated by
    `OUTSIDE_MARGIN`."""

    @property
    def psnr_gap_db(self) -> float:
        """By how many dB the user is behind the generative avatar."""
        return self.psnr_generative - self.psnr_truth

    def facts(self) -> dict[str, float]:
        """For `--json`."""
        return asdict(self) | {"psnr_gap_db": self.psnr_gap_db}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """Figures of transfers from generative avatars and from single avatars (`GIVERS`)."""

    scores: Mapping[str, Mapping[Attribute, WornScore]]  # by giver
    means: Mapping[str, WornScore]  # by giver, over all transfers
    seconds_per_user: float  # to put one attribute on, mean
    sheet: Bytes  # a row for each transfer: the user, from the generative avatar, from the single avatar, the truth

    def facts(self) -> dict[str, Any]:
        """For `--json`: what the generative avatar gives as a whole, then all figures."""
        means = {giver: score.facts() for giver, score in self.means.items()}
        return {
            "psnr_truth": means["from_generative"]["psnr_truth"],
            "psnr_gap_db": means["from_generative"]["psnr_gap_db"],
            "outside_max_difference": max(score["outside_max_difference"] for score in means.values()),
            "seconds_per_user": self.seconds_per_user,
            "mean": means,
        } | {giver: {a.value: score.facts() for a, score in by.items()} for giver, by in self.scores.items()}


def evaluate_transfer(
    exam: Exam, library: Library, progress: Progress | None = None, *, lenders: Library | None = None
) -> TransferReport:
    """Put on the exam's users what the generative avatar of its first target gives, and what its sources' avatars give.

    Args:
        exam: with a user at least.
        library: where `Exam.plan_models` was carried out.
        progress: told the share done and a short text.
        lenders: where the sources' avatars were fitted, if elsewhere.

    Raises:
        PegasusError: BAD_REFERENCE where something is not made.
    """
    report = progress or (lambda share, text: None)
    target = exam.targets[0]
    generative = read_generative(library, exam.model_job(target).key)
    edit = edit_block(generative)
    rounds = [(user, a, source) for user in exam.users for a in exam.attributes for source in exam.sources]
    found: dict[str, dict[Attribute, list[WornScore]]] = {
        giver: {attribute: [] for attribute in exam.attributes} for giver in GIVERS
    }
    rows, seconds = [], []
    for number, (user, attribute, source) in enumerate(rounds):
        lender = exam.lender(source, attribute)
        report(number / len(rounds), f"{attribute} of {lender.name} on {user.name}")
        key = exam.fit_job(lender).key
        reached = _generative_psnr(exam, library, target, lender, attribute, edit(attribute, key, 1.0))
        own, frames = exam.avatar(library, user), exam.unseen_frames(exam.track(library, user))
        truth = exam.truth(user, frames, attribute, lender)
        givers = {
            "from_generative": dressed(generative, {attribute: key}),
            "from_avatar": read_avatar(lenders or library, key),
        }
        pictures = []
        for name, giver in givers.items():
            began = time.monotonic()
            worn = transfer(giver, own, [attribute], exam.pipeline.transfer)
            seconds.append(time.monotonic() - began)
            filmed = exam.track(library, user).select(list(frames))
            score, row = score_worn(filmed, own, worn, truth, attribute, reached)
            found[name][attribute].append(score)
            pictures.append(row)
        rows.append(np.concatenate([pictures[0][0], pictures[0][1], pictures[1][1], pictures[0][2]], axis=1))
    return TransferReport(
        scores={giver: {a: _mean_score(scores) for a, scores in by.items()} for giver, by in found.items()},
        means={giver: _mean_score([one for scores in by.values() for one in scores]) for giver, by in found.items()},
        seconds_per_user=float(np.mean(seconds)),
        sheet=np.concatenate(rows),
    )


def _generative_psnr(
    exam: Exam, library: Library, target: Person, lender: Person, attribute: Attribute, edited: Avatar
) -> float:
    """PSNR in dB of the edited generative avatar against its own truth, inside the parts."""
    track = exam.track(library, target)
    frames = exam.unseen_frames(track)
    truth = exam.truth(target, frames, attribute, lender)
    regions = parts_of(track.select(list(frames)), truth, attribute)
    pictures = render_clip(edited, track, frames=frames)
    return mean_psnr(list(pictures), truth.on_white(), regions)


def score_worn(
    user: Track,  # as filmed, T frames
    own: Avatar,  # the user's, before the transfer
    worn: Avatar,  # and after it
    truth: Track,  # the user with the borrowed part, T frames
    attribute: Attribute,
    reached: float,  # dB by the generative avatar under the same code
) -> tuple[WornScore, list[Bytes]]:
    """Compare one user who wears one attribute with the truth.

    Returns:
        the figures, and the first frame to look at, (S, S, 3) each: the user's avatar before, after, and the truth.
    """
    frames, after = range(len(user)), truth.on_white()
    regions = parts_of(user, truth, attribute)
    bare, changed = (np.stack(list(render_clip(avatar, user))) for avatar in (own, worn))
    drawn = _part_drawn(worn, user, frames, attribute) | _part_drawn(own, user, frames, attribute)
    if attribute is Attribute.HAT:  # which presses all hair flat
        pressed_hair = [where_is(labels, Attribute.HAIR) for labels in user.parts]
    else:
        pressed_hair = [np.zeros_like(region) for region in regions]
    near = [
        dilate(true | made | pressed, OUTSIDE_MARGIN)
        for true, made, pressed in zip(regions, drawn, pressed_hair, strict=True)
    ]
    # Frames with shut eyes do not count: no pixel of them is eye, but the lids have the borrowed form, in the truth too.
    shown = np.array([region.any() for region in regions])
    outside = ~np.stack(near) & shown[:, None, None]
    difference = np.abs(changed.astype(int) - bare).max(-1)
    score = WornScore(
        psnr_truth=mean_psnr(changed, after, regions),
        psnr_unchanged=mean_psnr(bare, after, regions),
        psnr_generative=reached,
        outside_max_difference=float(difference[outside].max(initial=0)),
    )
    return score, [bare[0], changed[0], after[0]]


def _part_drawn(avatar: Avatar, track: Track, frames: Sequence[int], attribute: Attribute) -> npt.NDArray[np.bool_]:
    """The pixels (T, S, S) of which the avatar's part makes up more than half."""
    rig, found = load_rig(avatar.rig), []
    points = avatar.canonical(avatar.anchors(rig))
    for frame in frames:
        drive = Parameters.of(track.select([frame])).drive(avatar)
        with torch.no_grad():
            drawn = render_points(points, rig, drive, track.size, layers=EVERYTHING, per_pixel=24)
        found.append(drawn.parts[0, ..., attribute.part].numpy() > HALF_COVERED)
    return np.stack(found)


def _mean_score(scores: Sequence[WornScore]) -> WornScore:
    """Means of the PSNRs, over those that are numbers, and the greatest difference."""
    return WornScore(
        psnr_truth=float(np.nanmean([score.psnr_truth for score in scores])),
        psnr_unchanged=float(np.nanmean([score.psnr_unchanged for score in scores])),
        psnr_generative=float(np.nanmean([score.psnr_generative for score in scores])),
        outside_max_difference=max(score.outside_max_difference for score in scores),
    )
