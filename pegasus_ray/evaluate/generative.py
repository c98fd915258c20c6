"""`evaluate generative`: what the codes of a generative avatar change, compared with the true picture of the changed person.

Everything is drawn in poses and expressions that no fit has seen. Δ is the picture under a source's code minus the picture
under the target's own code. Its truth is the studio's picture of the target with the borrowed part minus the target as filmed.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pegasus_ray.avatar.generative.avatar import OWN, GenerativeAvatar, mix
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.evaluate.exam import Exam
from pegasus_ray.evaluate.regions import Region, dilate, head_box, mean_psnr, parts_of
from pegasus_ray.jobs.results import read_generative
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.perception.nets.identity import IdentityModel, distance
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip

REGION_MARGIN = 0.03
"""Share of the side by which the parts are dilated to give the region of an attribute."""
INTERPOLATION_STEPS = 8
"""How many steps lead from the target's own code to a source's."""
BLENDED_SHARE = 0.5
"""Greatest share of the way to the source's code that the baseline of latent interpolation moves the whole code."""
LATENT_SWAP, LATENT_INTERPOLATION = "no_synthesis_latent_swap", "no_synthesis_latent_interpolation"
BASELINES = (LATENT_SWAP, LATENT_INTERPOLATION)
"""The paper's ablations: both use models that were trained on the lenders' whole videos instead of on swaps."""

Edit = Callable[[Attribute, str, float], Avatar]
"""Makes the target's avatar with an attribute of a source. It takes the attribute, the key of the source's avatar, and the
share of the way from the target's own code (0) to the source's (1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeScore:
    """Figures of one edit, or their means over several."""

    change: float  # share of the true change that is made: ⟨Δ, truth⟩ / ⟨truth, truth⟩ over all pixels
    exactness: float  # 1 − ‖Δ − truth‖ / ‖truth‖; 0 is no better than no change
    locality: float  # share of |Δ| inside the region
    locality_truth: float  # the same of the true change
    evenness: float | None  # longest step of the interpolation ÷ the mean step, in the region; None without one
    morph: float | None  # how far the middle picture is from a double exposure of the ends; see `interpolation`
    identity: float | None  # distance of identity vectors, edited to unedited; None without an identity model
    identity_truth: float | None  # the same of the true pictures
    psnr_truth: float  # dB against the truth, inside the region
    psnr_unchanged: float  # dB there of the avatar under its own code
    psnr_head: float  # dB over the box around the head


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeReport:
    """Figures of all targets, attributes and sources, for one kind of edit."""

    attributes: Mapping[Attribute, CodeScore]
    swaps: Mapping[str, CodeScore]  # by "attribute of source on target"
    sheet: Bytes
    """A row for each edit: the avatar under its own code, under the source's code, the target as filmed, the true change."""
    strips: Bytes  # a row for each edit: the interpolation

    @property
    def mean(self) -> CodeScore:
        """The means over all edits."""
        return mean_score(list(self.swaps.values()))

    def facts(self) -> dict[str, Any]:
        """For `--json`: the figures of each attribute, and the means over all edits."""
        by_attribute = {attribute.value: asdict(score) for attribute, score in self.attributes.items()}
        return by_attribute | {"mean": asdict(self.mean)}


def evaluate_generative(
    exam: Exam, library: Library, progress: Progress | None = None, *, faces: IdentityModel | None = None
) -> GenerativeReport:
    """Examine the generative avatars of the exam's targets, which `Exam.plan_models` makes; `faces` measures identity.

    Raises:
        PegasusError: BAD_REFERENCE where a track, an avatar or a model is not made.
    """
    models = {target.name: read_generative(library, exam.model_job(target).key) for target in exam.targets}
    edits = {name: edit_block(model) for name, model in models.items()}
    return evaluate_edits(exam, library, edits, progress, faces=faces)


def baselines_of(names: str) -> list[str]:
    """The baselines in a list separated by commas; none in an empty one.

    Raises:
        PegasusError: BAD_CONFIG for a name that is no baseline.
    """
    named = [name for part in names.split(",") if (name := part.strip())]
    for name in named:
        if name not in BASELINES:
            raise PegasusError(Reason.BAD_CONFIG, f"is no baseline; there are {', '.join(BASELINES)}", subject=name)
    return named


def evaluate_baseline(
    name: str, exam: Exam, library: Library, progress: Progress | None = None, *, faces: IdentityModel | None = None
) -> GenerativeReport:
    """Examine one of `BASELINES`, with the models that were trained without swaps (`Exam.unswapped_job`).

    Raises:
        PegasusError: BAD_REFERENCE where a model is not made.
    """
    edit_of = edit_block if name == LATENT_SWAP else blend_whole_code
    models = {target.name: read_generative(library, exam.unswapped_job(target).key) for target in exam.targets}
    edits = {person: edit_of(model) for person, model in models.items()}
    return evaluate_edits(exam, library, edits, progress, faces=faces)


def edit_block(generative: GenerativeAvatar) -> Edit:
    """Edits that change the attribute's block of the code and nothing else."""
    rig = load_rig(generative.identity.points.rig)

    def edit(attribute: Attribute, source: str, share: float) -> Avatar:
        block = generative.blocks.get(attribute)
        if block is None or source not in block.sources:  # the quality of all its swaps was too low to learn from
            return generative.decode(generative.codes(), rig)
        chosen = {attribute: mix(block.code(OWN), block.code(source), share)}
        return generative.decode(generative.codes(chosen), rig)

    return edit


def blend_whole_code(generative: GenerativeAvatar) -> Edit:
    """Edits that move the whole code, identity included, half of the way to the source's.

    This is what interpolation can do where the code has no separate block for an attribute.
    """
    rig = load_rig(generative.identity.points.rig)

    def edit(attribute: Attribute, source: str, share: float) -> Avatar:
        mixed = {
            a: mix(block.code(OWN), block.code(source if source in block.sources else OWN), BLENDED_SHARE * share)
            for a, block in generative.blocks.items()
        }
        person = mix(generative.identity.code(OWN), generative.identity.code(source), BLENDED_SHARE * share)
        return generative.decode(mixed, rig, identity=person)

    return edit


def evaluate_edits(
    exam: Exam,
    library: Library,
    edits: Mapping[str, Edit],
    progress: Progress | None = None,
    *,
    faces: IdentityModel | None = None,
) -> GenerativeReport:
    """Examine any kind of edit: every attribute of every source on every target.

    Args:
        exam: the people, and what is borrowed.
        library: holds their tracks and avatars.
        edits: how an avatar is edited, by the target's name.
        progress: told the share done and a short text.
        faces: measures identity.
    """
    report = progress or (lambda share, text: None)
    rounds = [(target, a, source) for target in exam.targets for a in exam.attributes for source in exam.sources]
    swaps: dict[str, CodeScore] = {}
    by_attribute: dict[Attribute, list[CodeScore]] = {attribute: [] for attribute in exam.attributes}
    rows, strips = [], []
    for number, (target, attribute, source) in enumerate(rounds):
        lender = exam.lender(source, attribute)
        name = f"{attribute} of {lender.name} on {target.name}"
        report(number / len(rounds), name)
        track = exam.track(library, target)
        frames = exam.unseen_frames(track)
        own_truth, truth = track.select(list(frames)), exam.truth(target, frames, attribute, lender)
        edit, key = edits[target.name], exam.fit_job(lender).key
        own, edited = (_draw(edit(attribute, key, share), track, frames) for share in (0.0, 1.0))
        regions = [dilate(region, REGION_MARGIN) for region in parts_of(own_truth, truth, attribute)]
        path = [edit(attribute, key, step / INTERPOLATION_STEPS) for step in range(INTERPOLATION_STEPS + 1)]
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
        strips=np.concatenate(strips),
    )


def score_edit(
    own: Bytes,  # (T, S, S, 3) the avatar under its own code
    edited: Bytes,  # (T, S, S, 3) under the source's code
    own_truth: Track,  # the target as filmed
    truth: Track,  # the target with the borrowed part
    regions: Sequence[Region],  # of the attribute, one for each frame
    strip: Bytes | None,  # (INTERPOLATION_STEPS + 1, S, S, 3) of the first frame; None: no interpolation is scored
    faces: IdentityModel | None = None,  # measures identity
) -> CodeScore:
    """Compare one edit with its truth."""
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
        identity=_identity_distance(faces, own, edited, own_truth) if faces else None,
        identity_truth=_identity_distance(faces, before, after, own_truth) if faces else None,
        psnr_truth=mean_psnr(edited, after, regions),
        psnr_unchanged=mean_psnr(own, after, regions),
        psnr_head=mean_psnr(edited, after, heads),
    )


def interpolation(strip: Bytes, region: Region) -> tuple[float, float]:
    """How evenly a series of pictures (9, S, S, 3) leads from its first to its last, and how far it is from a double exposure.

    Returns:
        the longest step's distance (L1 in the region) ÷ the mean step's; and the distance of the middle picture from the mean
        of both ends ÷ half the distance of the ends. 0 is a double exposure, in which both parts show through each other; 1 is
        as far from it as either end is. A part that changes nothing but its colour has 0 rightly, so the figure says something
        about hair, hats and changes of form.
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


def _identity_distance(faces: IdentityModel, before: Bytes, after: Bytes, track: Track) -> float:
    """The distance of identity vectors of pictures before and after a change, cut out by the landmarks before it."""
    return distance(*(faces.embed(pictures, track.landmarks) for pictures in (before, after)))


def _draw(avatar: Avatar, track: Track, frames: Sequence[int]) -> Bytes:
    return np.stack(list(render_clip(avatar, track, frames=frames)))


def _difference(before: Bytes, after: Bytes) -> npt.NDArray[np.float64]:
    return (after.astype(np.float64) - before) / 255


def _share_inside(change: npt.NDArray[np.float64], inside: Region) -> float:
    """Share of an absolute change (T, S, S, 3) that lies inside a region (T, S, S)."""
    size = np.abs(change).sum(-1)
    return float(size[inside].sum() / max(size.sum(), 1e-9))
