"""Jobs that recombine: swaps become a generative avatar, an attribute goes to a new user's avatar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.avatar.files.avatar import dump_avatar
from pegasus_ray.avatar.files.generative import dump_generative
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.jobs.results import provenance, read_avatar, read_generative, read_track
from pegasus_ray.jobs.stage_job import StageJob, plan_key
from pegasus_ray.jobs.work import Summary
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.schemas.manifests import Kind, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.personalize import PersonalizeConfig, personalize, personalize_unswapped
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import TransferConfig, dressed, transfer

CHECKPOINT = "training.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalizeJob(StageJob):
    """The target's own frames and their swaps become a generative avatar."""

    stage: ClassVar[Stage] = Stage.PERSONALIZE
    track: str
    target: str  # the target's avatar
    swaps: tuple[str, ...]
    people: tuple[tuple[str, str], ...] = ()  # tracks and avatars of the lenders, where they take the place of swaps
    config: PersonalizeConfig

    @classmethod
    def plan(
        cls,
        track: str,
        target: str,
        swaps: Sequence[str],
        config: PersonalizeConfig,
        *,
        subject: str,
        people: Sequence[tuple[str, str]] = (),
    ) -> PersonalizeJob:
        """The job for a target and swaps of it, or without synthesis for people's tracks and avatars; in any order."""
        ordered, whole = tuple(sorted(swaps)), tuple(sorted(people))
        inputs = {"track": track, "target": target, "swaps": ",".join(ordered)}
        if whole:
            inputs["people"] = ",".join("+".join(pair) for pair in whole)
        return cls(
            key=plan_key(cls.stage, inputs, config),
            subject=subject,
            threads=config.training.threads,
            track=track,
            target=target,
            swaps=ordered,
            people=whole,
            config=config,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The target's track and avatar, and the swaps."""
        return {
            "track": self.track,
            "target": self.target,
            **{f"swap {number}": key for number, key in enumerate(self.swaps)},
            **{f"track {number}": track for number, (track, _) in enumerate(self.people)},
            **{f"avatar {number}": avatar for number, (_, avatar) in enumerate(self.people)},
        }

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Train, look at the person under their own codes, commit."""
        track, target = read_track(library.location, self.track), read_avatar(library, self.target)
        checkpoint = scratch / CHECKPOINT
        if self.people:
            lenders = [avatar for _, avatar in self.people]
            people = {
                avatar: (read_track(library.location, video), read_avatar(library, avatar))
                for video, avatar in self.people
            }
            result = personalize_unswapped(track, target, people, self.config, progress=progress, checkpoint=checkpoint)
        else:
            swaps = [load_swap(library, key) for key in self.swaps]
            lenders = sorted({swap.avatar for swap in swaps})
            avatars = {key: read_avatar(library, key) for key in lenders}
            result = personalize(track, target, swaps, avatars, self.config, progress=progress, checkpoint=checkpoint)
        facts = provenance(
            self.inputs,
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.config.training.seed,
            threads=self.threads,
            attributes=tuple(result.avatar.blocks),
            consent=_consent(library, (self.target, *lenders)),
            summary=result.figures,
        )
        preview = _preview(library, dressed(result.avatar, {}), self.track)
        files = dump_generative(result.avatar) | {"preview.png": preview}
        return library.commit(self.stage.kind, self.key, files, facts).summary


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferJob(StageJob):
    """A source's attributes on a new user's avatar."""

    stage: ClassVar[Stage] = Stage.TRANSFER
    source: str
    source_kind: Kind  # avatars or models
    user: str  # the new user's avatar
    attributes: tuple[Attribute, ...]
    codes: tuple[tuple[Attribute, str], ...] = ()
    config: TransferConfig

    @classmethod
    def plan(
        cls,
        source: str,
        source_kind: Kind,
        user: str,
        attributes: Sequence[Attribute],
        config: TransferConfig,
        *,
        subject: str,
        codes: Mapping[Attribute, str] | None = None,
    ) -> TransferJob:
        """The job for a source and a wearer; `codes` as in `transfer`."""
        chosen = tuple(sorted((codes or {}).items()))
        wishes = {"transfer": config, "attributes": list(attributes), "codes": dict(chosen)}
        return cls(
            key=plan_key(cls.stage, {"source": source, "user": user}, wishes),
            subject=subject,
            source=source,
            source_kind=source_kind,
            user=user,
            attributes=tuple(attributes),
            codes=chosen,
            config=config,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The source and the new user's avatar."""
        return {"source": self.source, "user": self.user}

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Put the attributes on, look at the wearer, commit."""
        lender = library.expect(self.source_kind, self.source)
        wearer = library.expect(Kind.AVATARS, self.user)
        source = (
            read_generative(library, self.source)
            if self.source_kind is Kind.MODELS
            else read_avatar(library, self.source)
        )
        worn = transfer(source, read_avatar(library, self.user), self.attributes, self.config, codes=dict(self.codes))
        track = wearer.input("track")
        facts = provenance(
            {**self.inputs, "track": track},
            {"transfer": self.config, "attributes": self.attributes, "codes": dict(self.codes)},
            source=self.subject,
            rig=worn.rig,
            threads=self.threads,
            consent="; ".join(dict.fromkeys(text for text in (wearer.consent, lender.consent) if text)),
            summary={"points": len(worn)},
        )
        files = dump_avatar(worn) | {"preview.png": _preview(library, worn, track)}
        return library.commit(self.stage.kind, self.key, files, facts).summary


def _preview(library: Library, avatar: Avatar, track: str) -> bytes:
    """The avatar in the first frame of a track that no fit has seen, as PNG."""
    driver = read_track(library.location, track)
    (picture,) = render_clip(avatar, driver, frames=[int(driver.held_out()[1][0])])
    return encode_png(picture)


def _consent(library: Library, avatars: Sequence[str]) -> str:
    """What the people shown have consented to, each wording once."""
    wordings = [library.expect(Kind.AVATARS, key).consent for key in avatars]
    return "; ".join(dict.fromkeys(wording for wording in wordings if wording))
