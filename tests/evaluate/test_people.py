"""Avatars of studio people are compared with unseen frames and with side views, which come out worse."""

from __future__ import annotations

from pathlib import Path

from pegasus_ray.avatar.fit.config import FitConfig, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.evaluate.people import PeopleExam, evaluate_people
from pegasus_ray.jobs.studio import StudioConfig
from pegasus_ray.library.library import Library

SMALL = FitConfig(
    stages=(Resolution(scale=1.0, steps=40, per_pixel=6),),
    budget=PointBudget(surface=1500, hair=800, cloth=600, backing=0),
)


def test_everybody_is_scored_on_what_no_fit_saw(tmp_path: Path) -> None:
    exam = PeopleExam(people=1, seed=500, film=StudioConfig(frames=10, size=48), fit=SMALL)
    library = Library(str(tmp_path))
    for job in exam.plan().jobs:
        job.run(library, lambda *_: None, tmp_path)
    report = evaluate_people(exam, library)
    facts = report.facts()
    (score,) = report.scores.values()
    assert facts["unseen"]["psnr"] == score.unseen.psnr and facts["aside"]["psnr"] == score.aside.psnr
    assert score.unseen.frames == 1 and score.aside.frames == 2
    assert 10 < score.aside.psnr < score.unseen.psnr < 40
    assert report.sheet.shape == (2 * 48, 3 * 48, 3)
