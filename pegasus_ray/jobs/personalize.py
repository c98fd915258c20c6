"""The job that turns the swaps of a target into a generative avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.avatar.files.generative import dump_generative
from pegasus_ray.jobs.preview import PREVIEW_FILE, draw_preview
from pegasus_ray.jobs.results import read_avatar, read_track
from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.schemas.manifests import Manifest, SeenPerson, Stage
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.personalize import PersonalizeConfig, personalize, personalize_unswapped
from pegasus_ray.stages.transfer import dressed

CHECKPOINT_FILE = "training.safetensors"  # name in the scratch folder


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalizeJob(StageJob):
    """The training of a generative avatar on the target's own frames and its swaps."""

    stage: ClassVar[Stage] = Stage.PERSONALIZE
    track: str
    target: str  # the target's avatar
    swaps: tuple[str, ...]
    people: tuple[tuple[str, str], ...] = ()  # (track, avatar) of each lender, for training on videos instead of swaps
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
        seen: Sequence[SeenPerson] = (),
    ) -> PersonalizeJob:
        """The job for a target and its swaps, or, for training without synthesis, for other people's tracks and avatars.

        The order of `swaps` and of `people` does not matter. `seen` is everybody who can be seen in them.
        """
        ordered, lenders = tuple(sorted(swaps)), tuple(sorted(people))
        inputs = {"track": track, "target": target, "swaps": ",".join(ordered)}
        if lenders:
            inputs["people"] = ",".join("+".join(pair) for pair in lenders)
        key, work = identify(cls.stage, inputs, config)
        return cls(
            key=key,
            work=work,
            subject=subject,
            threads=config.training.threads,
            seen=tuple(seen),
            track=track,
            target=target,
            swaps=ordered,
            people=lenders,
            config=config,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The target's track and avatar, and the swaps or the other people's tracks and avatars."""
        return {
            "track": self.track,
            "target": self.target,
            **{f"swap {number}": key for number, key in enumerate(self.swaps)},
            **{f"track {number}": track for number, (track, _) in enumerate(self.people)},
            **{f"avatar {number}": avatar for number, (_, avatar) in enumerate(self.people)},
        }

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Train, draw a preview under the target's own codes, commit."""
        track, target = read_track(library.location, self.track), read_avatar(library, self.target)
        checkpoint = scratch / CHECKPOINT_FILE
        if self.people:
            people = {
                avatar: (read_track(library.location, video), read_avatar(library, avatar))
                for video, avatar in self.people
            }
            result = personalize_unswapped(track, target, people, self.config, progress=progress, checkpoint=checkpoint)
        else:
            swaps = [load_swap(library, key) for key in self.swaps]
            avatars = {key: read_avatar(library, key) for key in sorted({swap.avatar for swap in swaps})}
            result = personalize(track, target, swaps, avatars, self.config, progress=progress, checkpoint=checkpoint)
        facts = self.provenance(
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.config.training.seed,
            attributes=tuple(result.avatar.blocks),
            summary=result.figures,
        )
        preview = draw_preview(dressed(result.avatar, {}), track)
        files = dump_generative(result.avatar) | {PREVIEW_FILE: preview}
        return library.commit(self.stage.kind, self.key, files, facts)
