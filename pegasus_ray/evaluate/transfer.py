"""evaluate transfer: an attribute on a new user, held against the true picture of the user with it.

The attribute comes once from a generative avatar, under the code of each source, and once from each source's own avatar.

Legend: T frames, S side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.evaluate.exam import Exam, where_is
from pegasus_ray.evaluate.generative import editor, parts_of
from pegasus_ray.evaluate.swap import MARGIN, dilate, mean_psnr
from pegasus_ray.jobs.results import read_avatar, read_generative
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import dressed, transfer
from pegasus_ray.studio.people import Person

WAYS = ("from_generative", "from_avatar")


@dataclass(frozen=True, slots=True, kw_only=True)
class WornScore:
    """One attribute, or all: means over users, sources and frames; of what is outside the greatest."""

    psnr_truth: float  # dB against the truth, in the user's own part and the true borrowed one
    psnr_unchanged: float  # dB there of the user's avatar as it was
    psnr_generative: float  # dB that the generative avatar reaches under the same code against its own truth
    outside_max_difference: (
        float  # of a colour, in 1/255, outside of the parts, true and drawn, dilated by 6 % (a hat's: with the hair)
    )

    @property
    def psnr_gap_db(self) -> float:
        """How far the user is behind the generative avatar."""
        return self.psnr_generative - self.psnr_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """Both ways to come by an attribute."""

    from_generative: Mapping[Attribute, WornScore]
    from_avatar: Mapping[Attribute, WornScore]
    seconds_per_user: float  # to put one attribute on, mean
    sheet: Bytes  # a row an attribute and source: the user, from the model, from the avatar, the truth
    scores: Mapping[str, WornScore] = field(default_factory=dict)  # "all from …"


def evaluate_transfer(
    exam: Exam,
    library: Library,
    attributes: Sequence[Attribute],
    progress: Progress | None = None,
    *,
    lenders: Library | None = None,
) -> TransferReport:
    """The exam's users wear what the generative avatar of its first target, and its sources' avatars, have to give.

    Args:
        exam: with a user at least.
        library: where `Exam.plan_models` was carried out.
        attributes: what is borrowed, one at a time.
        progress: told the share done and a short text.
        lenders: where the sources' avatars were fitted, if elsewhere.

    Raises:
        PegasusError: BAD_REFERENCE where something is not made.
    """
    report = progress or (lambda share, text: None)
    target = exam.targets[0]
    generative = read_generative(library, exam.model_job(target, attributes).key)
    edit = editor(generative)
    rounds = [(user, attribute, source) for user in exam.users for attribute in attributes for source in exam.sources]
    found: dict[str, dict[Attribute, list[WornScore]]] = {way: {a: [] for a in attributes} for way in WAYS}
    rows, seconds = [], []
    for number, (user, attribute, source) in enumerate(rounds):
        lender = exam.lender(source, attribute)
        report(number / len(rounds), f"{attribute} of {lender.name} on {user.name}")
        key = exam.fit_job(lender).key
        reached = _generative_psnr(exam, library, target, lender, attribute, edit(attribute, key, 1.0))
        own, frames = exam.avatar(library, user), exam.unseen(exam.track(library, user))
        truth = exam.truth(user, frames, attribute, lender)
        givers = {
            "from_generative": dressed(generative, {attribute: key}),
            "from_avatar": read_avatar(lenders or library, key),
        }
        pictures = []
        for way, giver in givers.items():
            began = time.monotonic()
            worn = transfer(giver, own, [attribute], exam.pipeline.transfer)
            seconds.append(time.monotonic() - began)
            score, row = score_worn(
                exam.track(library, user).select(list(frames)), own, worn, truth, attribute, reached
            )
            found[way][attribute].append(score)
            pictures.append(row)
        rows.append(np.concatenate([pictures[0][0], pictures[0][1], pictures[1][1], pictures[0][2]], axis=1))
    means = {way: {a: _mean(scores) for a, scores in by.items()} for way, by in found.items()}
    return TransferReport(
        from_generative=means["from_generative"],
        from_avatar=means["from_avatar"],
        seconds_per_user=float(np.mean(seconds)),
        sheet=np.concatenate(rows),
        scores={way: _mean([score for scores in by.values() for score in scores]) for way, by in found.items()},
    )


def _generative_psnr(
    exam: Exam, library: Library, target: Person, lender: Person, attribute: Attribute, edited: Avatar
) -> float:
    """What the generative avatar reaches against its own truth, in the parts."""
    track = exam.track(library, target)
    frames = exam.unseen(track)
    truth = exam.truth(target, frames, attribute, lender)
    regions = parts_of(track.select(list(frames)), truth, attribute)
    pictures = render_clip(edited, track, frames=frames)
    return mean_psnr(list(pictures), truth.on_white(), regions)


def score_worn(
    user: Track,
    own: Avatar,
    worn: Avatar,
    truth: Track,
    attribute: Attribute,
    reached: float,
) -> tuple[WornScore, list[Bytes]]:
    """One user wearing one attribute, in all frames of `user`; the first frame as the user, worn, the truth."""
    frames, after = range(len(user)), truth.on_white()
    regions = parts_of(user, truth, attribute)
    bare, changed = (np.stack(list(render_clip(avatar, user))) for avatar in (own, worn))
    drawn = _part_drawn(worn, user, frames, attribute) | _part_drawn(own, user, frames, attribute)
    if attribute is Attribute.HAT:  # which presses all hair flat
        pressed = [where_is(labels, Attribute.HAIR) for labels in user.parts]
    else:
        pressed = [np.zeros_like(region) for region in regions]
    near = [dilate(one | two | three, MARGIN) for one, two, three in zip(regions, drawn, pressed, strict=True)]
    # where eyes are shut nothing of them is seen, but their lids have the other form, in the truth too
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
    """The pixels (T, S, S) that the part makes up more than half of."""
    rig, found = load_rig(avatar.rig), []
    points = avatar.canonical(avatar.anchors(rig))
    for frame in frames:
        drive = Parameters.of(track.select([frame])).drive(avatar)
        with torch.no_grad():
            share = render_points(points, rig, drive, track.size, per_pixel=24).parts[0, ..., attribute.part]
        found.append(share.numpy() > 0.5)
    return np.stack(found)


def _mean(scores: Sequence[WornScore]) -> WornScore:
    return WornScore(
        psnr_truth=float(np.nanmean([score.psnr_truth for score in scores])),
        psnr_unchanged=float(np.nanmean([score.psnr_unchanged for score in scores])),
        psnr_generative=float(np.nanmean([score.psnr_generative for score in scores])),
        outside_max_difference=max(score.outside_max_difference for score in scores),
    )
