"""The job that puts a source's attributes on a new user's avatar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.avatar.files.avatar import dump_avatar
from pegasus_ray.jobs.preview import PREVIEW_FILE, draw_preview
from pegasus_ray.jobs.results import read_avatar, read_generative, read_track
from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.manifests import InputEntry, Kind, Manifest, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.transfer import TransferConfig, transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferJob(StageJob):
    """The transfer of some attributes from one source to one user."""

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
        seen: Sequence[SeenPerson] = (),
    ) -> TransferJob:
        """The job for a source and a user; for `codes` see `transfer`; `seen` is everybody who can be seen in both."""
        chosen = tuple(sorted((codes or {}).items()))
        settings = {"transfer": config, "attributes": list(attributes), "codes": dict(chosen)}
        key, work = identify(cls.stage, {"source": source, "user": user}, settings)
        return cls(
            key=key,
            work=work,
            subject=subject,
            seen=tuple(seen),
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

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Put the attributes on the user's avatar, draw a preview on the user's track, commit."""
        user = library.expect(Kind.AVATARS, self.user)
        source = (
            read_generative(library, self.source)
            if self.source_kind is Kind.MODELS
            else read_avatar(library, self.source)
        )
        avatar = transfer(source, read_avatar(library, self.user), self.attributes, self.config, codes=dict(self.codes))
        track = user.input("track")
        facts = self.provenance(
            {"transfer": self.config, "attributes": self.attributes, "codes": dict(self.codes)},
            source=self.subject,
            rig=avatar.rig,
            more_inputs=(InputEntry(name="track", key=track),),
            summary={"points": len(avatar)},
        )
        preview = draw_preview(avatar, read_track(library.location, track))
        files = dump_avatar(avatar) | {PREVIEW_FILE: preview}
        return library.commit(self.stage.kind, self.key, files, facts)
