"""The preset `paper` as a job: the networks are stored and draw the person, and other uses take the baked points."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.results import read_avatar, read_fields, read_track
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.tracks import save_track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PRESETS
from pegasus_ray.stages.settings import override
from pegasus_ray.stages.transfer import TransferConfig
from pegasus_ray.viewer.draw_person import Shot, draw_person, export_points
from pegasus_ray.viewer.dressed_person import Outfit, dress_person
from tests.painted import painted_track

TRACK = "a" * 16
FIT = FitConfig(
    stages=(Resolution(scale=1.0, steps=25),),
    budget=PointBudget(surface=1100, hair=400, cloth=40),
    rates=LearningRates(networks=4e-3),
    fields=FieldConfig(code=2, field_width=32, field_depth=3, deformer_width=16, deformer_depth=2, shading_width=16),
    batch=2,
    motion_components=3,
    evidence_frames=4,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, str]:
    library = Library(tmp_path_factory.mktemp("library"))
    save_track(library, TRACK, painted_track(), Provenance())
    job = FitJob.plan(TRACK, FIT, subject="painted")
    (outcome,) = InlineExecutor(Catalogue(library)).run([job], lambda event: None)
    assert outcome.status == "done", outcome.message
    return library, job.key


def test_networks_are_stored_and_draw_better_than_chance(made: tuple[Library, str]) -> None:
    library, key = made
    assert {file.name for file in library.expect(Kind.AVATARS, key).files} >= {
        "fields.safetensors",
        "avatar.safetensors",
    }
    fields, avatar, track = read_fields(library, key), read_avatar(library, key), read_track(library.location, TRACK)
    assert fields is not None
    baked, _ = evaluate_avatar(track, avatar)
    drawn, _ = evaluate_avatar(track, avatar, points=fields.canonical(load_rig()))
    assert drawn.psnr > 12 and abs(drawn.psnr - baked.psnr) < 3


def test_a_person_is_drawn_by_the_networks_unless_they_wear_others(made: tuple[Library, str], tmp_path: Path) -> None:
    library, key = made
    plain = dress_person(Catalogue(library), key, Outfit(), TransferConfig())
    assert plain.fields is not None
    assert dress_person(Catalogue(library), key, Outfit(wear={Attribute.HAIR: key}), TransferConfig()).fields is None
    assert draw_person(library, plain, Shot(driver=TRACK, most=1), tmp_path / "x.png") == 1
    assert export_points(plain, tmp_path / "x.ply") == len(plain.avatar)


def test_a_preset_of_fields_trains_generative_avatars_of_fields() -> None:
    for name, chosen in PRESETS.items():
        training = chosen.personalize.training
        assert isinstance(training, FitConfig) == (chosen.fit.fields is not None), name
    with pytest.raises(PegasusError) as caught:
        override(PRESETS["paper-small"], {"personalize": {"fields": {"stages": [{"scale": 1.0, "steps": 3}]}}})
    assert caught.value.reason is Reason.BAD_CONFIG and caught.value.subject == "personalize.fields"


def test_the_preset_paper_has_the_reference_s_sizes() -> None:
    fields = PRESETS["paper"].fit.fields
    assert fields is not None
    assert (fields.field_width, fields.field_depth, fields.shading_width, fields.deformer_width) == (512, 9, 512, 128)
    small = override(PRESETS["paper-small"], {"fit": {"fields": {"field_width": 96}}})
    assert small.fit.fields is not None and small.fit.fields.field_width == 96
