"""evaluate generative: what the codes of a generative avatar change, held against the true picture of the changed person.

Everything is drawn in poses and expressions that no fit has seen. Δ is the picture under a source's code less the picture
under the target's own; its truth is the studio's target with the borrowed part less the target as filmed.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from pegasus_ray.avatar.generative.avatar import OWN, GenerativeAvatar, mix
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.evaluate.exam import Exam, Region, head_box, where_is
from pegasus_ray.evaluate.swap import dilate, mean_psnr
from pegasus_ray.jobs.results import read_generative
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.perception.nets.identity import IdentityModel, distance
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip

MARGIN = 0.03
"""By how much of the side the parts are dilated: their region."""
STEPS = 8
"""Of an interpolation from the target's own code to a source's."""

HALF = 0.5
"""How far a whole code goes to the source's in the baseline of latent interpolation."""
LATENT_SWAP, LATENT_INTERPOLATION = "no_synthesis_latent_swap", "no_synthesis_latent_interpolation"
BASELINES = (LATENT_SWAP, LATENT_INTERPOLATION)

Floats = npt.NDArray[np.float64]
Edit = Callable[[Attribute, str, float], Avatar]
"""The avatar with a source's attribute (its avatar's key), taken on to a share: 0 is the target's own, 1 the source's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeScore:
    """One swap, or the mean of several."""

    change: float  # share of the true change that is made: ⟨Δ, truth⟩ / ⟨truth, truth⟩ over all pixels
    exactness: float  # 1 − ‖Δ − truth‖ / ‖truth‖; 0 is no better than no change
    locality: float  # share of |Δ| inside the region
    locality_truth: float
    evenness: float | None  # longest step of the interpolation ÷ the mean step, in the region; None where there is none
    morph: float | None  # how far the middle is from a double exposure of the ends; see `interpolation`
    identity: float | None  # distance of identity vectors, edited to unedited; None without an identity model
    identity_truth: float | None  # of the true pictures
    psnr_truth: float  # dB inside the region
    psnr_unchanged: float  # of the target's own picture there
    psnr_head: float  # dB over the box around the head


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeReport:
    """All swaps of one way to make them."""

    attributes: Mapping[Attribute, CodeScore]
    swaps: Mapping[str, CodeScore]  # by "attribute of source on target"
    sheet: Bytes  # a row a swap: own, under the source's code; as filmed, the true change
    strips: Bytes | None  # a row a swap: the interpolation

    @property
    def mean(self) -> CodeScore:
        """Of all swaps."""
        return mean_score(list(self.swaps.values()))


def evaluate_generative(
    exam: Exam,
    library: Library,
    attributes: Sequence[Attribute],
    progress: Progress | None = None,
    *,
    faces: IdentityModel | None = None,
) -> GenerativeReport:
    """The generative avatars of the exam's targets (`Exam.plan_models`); `faces` measures identity.

    Raises:
        PegasusError: BAD_REFERENCE where a track, an avatar or a model is not made.
    """
    edits = {
        target.name: editor(read_generative(library, exam.model_job(target, attributes).key)) for target in exam.targets
    }
    return evaluate_edits(exam, library, attributes, edits, progress, faces=faces)


def baselines_of(names: str) -> list[str]:
    """The baselines in a list separated by commas; none in an empty one.

    Raises:
        PegasusError: BAD_CONFIG for a name that there is not.
    """
    named = [name for part in names.split(",") if (name := part.strip())]
    for name in named:
        if name not in BASELINES:
            raise PegasusError(Reason.BAD_CONFIG, f"is no baseline; there are {', '.join(BASELINES)}", subject=name)
    return named


def evaluate_baseline(
    name: str,
    exam: Exam,
    library: Library,
    attributes: Sequence[Attribute],
    progress: Progress | None = None,
    *,
    faces: IdentityModel | None = None,
) -> GenerativeReport:
    """One of `BASELINES`, made of the models without synthesis (`Exam.unswapped_job`).

    Raises:
        PegasusError: BAD_REFERENCE where a model is not made.
    """
    edits = {}
    for target in exam.targets:
        model = read_generative(library, exam.unswapped_job(target, attributes).key)
        edits[target.name] = editor(model) if name == LATENT_SWAP else between(model)
    return evaluate_edits(exam, library, attributes, edits, progress, faces=faces)


def editor(generative: GenerativeAvatar) -> Edit:
    """Changing one block of the code."""
    rig = load_rig(generative.identity.points.rig)

    def edit(attribute: Attribute, source: str, share: float) -> Avatar:
        block = generative.blocks.get(attribute)
        if block is None or source not in block.sources:  # all of its swaps were too poor to learn from
            return generative.decode(generative.codes(), rig)
        chosen = {attribute: mix(block.code(OWN), block.code(source), share)}
        return generative.decode(generative.codes(chosen), rig)

    return edit


def between(generative: GenerativeAvatar) -> Edit:
    """Going half of the way to the source with the whole code, identity and all: what interpolation can do without parts."""
    rig = load_rig(generative.identity.points.rig)

    def edit(attribute: Attribute, source: str, share: float) -> Avatar:
        mixed = {
            a: mix(block.code(OWN), block.code(source if source in block.sources else OWN), HALF * share)
            for a, block in generative.blocks.items()
        }
        person = mix(generative.identity.code(OWN), generative.identity.code(source), HALF * share)
        return generative.decode(mixed, rig, identity=person)

    return edit


def evaluate_edits(
    exam: Exam,
    library: Library,
    attributes: Sequence[Attribute],
    edits: Mapping[str, Edit],
    progress: Progress | None = None,
    *,
    interpolate: bool = True,
    faces: IdentityModel | None = None,
) -> GenerativeReport:
    """Any way to change a target, by the target's name.

    Args:
        exam: who sits it.
        library: with their tracks and avatars.
        attributes: what is changed.
        edits: how, a target.
        progress: told the share done and a short text.
        interpolate: also go from the target's own to the source's in steps.
        faces: measures identity.
    """
    report = progress or (lambda share, text: None)
    rounds = [(target, a, source) for target in exam.targets for a in attributes for source in exam.sources]
    swaps: dict[str, CodeScore] = {}
    by_attribute: dict[Attribute, list[CodeScore]] = {attribute: [] for attribute in attributes}
    rows, strips = [], []
    for number, (target, attribute, source) in enumerate(rounds):
        lender = exam.lender(source, attribute)
        name = f"{attribute} of {lender.name} on {target.name}"
        report(number / len(rounds), name)
        track = exam.track(library, target)
        frames = exam.unseen(track)
        own_truth, truth = track.select(list(frames)), exam.truth(target, frames, attribute, lender)
        edit, key = edits[target.name], exam.fit_job(lender).key
        own, edited = (_draw(edit(attribute, key, share), track, frames) for share in (0.0, 1.0))
        regions = [dilate(region, MARGIN) for region in parts_of(own_truth, truth, attribute)]
        strip = None
        if interpolate:
            path = [edit(attribute, key, step / STEPS) for step in range(STEPS + 1)]
            strip = np.stack([_draw(avatar, track, frames[:1])[0] for avatar in path])
            strips.append(np.concatenate(list(strip), axis=1))
        score = score_edit(own, edited, own_truth, truth, regions, strip, faces)
        swaps[name] = score
        by_attribute[attribute].append(score)
        rows.append(np.concatenate([own[0], edited[0], own_truth.on_white()[0], truth.on_white()[0]], axis=1))
    return GenerativeReport(
        attributes={attribute: mean_score(scores) for attribute, scores in by_attribute.items()},
        swaps=swaps,
        sheet=np.concatenate(rows),
        strips=np.concatenate(strips) if strips else None,
    )


def parts_of(own: Track, changed: Track, attribute: Attribute) -> list[Region]:
    """The target's own part and the true borrowed one in each frame, undilated."""
    return [
        where_is(before, attribute) | where_is(after, attribute)
        for before, after in zip(own.parts, changed.parts, strict=True)
    ]


def score_edit(
    own: Bytes,  # (T, S, S, 3) the avatar under its own code
    edited: Bytes,  # (T, S, S, 3) under the source's
    own_truth: Track,
    truth: Track,
    regions: Sequence[Region],
    strip: Bytes | None,  # (STEPS + 1, S, S, 3) of the first frame
    faces: IdentityModel | None = None,
) -> CodeScore:
    """How near one edit comes to its truth."""
    before, after = own_truth.on_white(), truth.on_white()
    made, true = _difference(own, edited), _difference(before, after)
    inside = np.stack(list(regions))
    evenness, morph = interpolation(strip, inside[0]) if strip is not None else (None, None)
    heads = [head_box(labels) for labels in truth.parts]
    return CodeScore(
        change=float((made * true).sum() / np.square(true).sum()),
        exactness=float(1 - np.linalg.norm(made - true) / np.linalg.norm(true)),
        locality=_share_inside(made, inside),
        locality_truth=_share_inside(true, inside),
        evenness=evenness,
        morph=morph,
        identity=_unlike(faces, own, edited, own_truth) if faces else None,
        identity_truth=_unlike(faces, before, after, own_truth) if faces else None,
        psnr_truth=mean_psnr(edited, after, regions),
        psnr_unchanged=mean_psnr(own, after, regions),
        psnr_head=mean_psnr(edited, after, heads),
    )


def interpolation(strip: Bytes, region: Region) -> tuple[float, float]:
    """How evenly a series of pictures (9, S, S, 3) goes from its first to its last, and how far it is from a double exposure.

    Returns:
        the longest step's distance (L1 in the region) ÷ the mean step's, and the distance of the middle picture from the mean
        of the ends ÷ half the ends' distance: 0 is a double exposure, in which both parts show through each other; 1 is as far
        from it as either end is. A part that only changes its colour rightly has 0: what counts is hair, hats and forms.
    """
    pictures = strip[:, region].astype(np.float64)
    steps = np.abs(np.diff(pictures, axis=0)).mean((1, 2))
    ends = np.abs(pictures[-1] - pictures[0]).mean()
    ghost = np.abs(pictures[len(pictures) // 2] - (pictures[0] + pictures[-1]) / 2).mean()
    return float(steps.max() / max(steps.mean(), 1e-9)), float(ghost / max(ends / 2, 1e-9))


def mean_score(scores: Sequence[CodeScore]) -> CodeScore:
    """The mean of each figure over those that have it."""
    means: dict[str, float | None] = {}
    for field in fields(CodeScore):
        values = [value for score in scores if (value := getattr(score, field.name)) is not None]
        means[field.name] = float(np.nanmean(values)) if values else None
    return CodeScore(**means)  # type: ignore[arg-type]


def _unlike(faces: IdentityModel, before: Bytes, after: Bytes, track: Track) -> float:
    """How much another person the pictures after show; faces are found where they are before, in both."""
    return distance(*(faces.embed(pictures, track.landmarks) for pictures in (before, after)))


def _draw(avatar: Avatar, track: Track, frames: Sequence[int]) -> Bytes:
    return np.stack(list(render_clip(avatar, track, frames=frames)))


def _difference(before: Bytes, after: Bytes) -> Floats:
    return (after.astype(np.float64) - before) / 255


def _share_inside(change: Floats, inside: Region) -> float:
    size = np.abs(change).sum(-1)
    return float(size[inside].sum() / max(size.sum(), 1e-9))
