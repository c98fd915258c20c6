"""Commands that hold what is recombined against the truth, on studio people: evaluate swap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegasus_ray.cli.options import SOME_FAILED, AttributesOption, Run, attributes_of, command
from pegasus_ray.cli.output import answer, jobs_progress, one_progress, table
from pegasus_ray.cli.running import tell_failures, tell_plan
from pegasus_ray.schemas.parts import Attribute

if TYPE_CHECKING:
    from pegasus_ray.pipeline.exam import Exam
    from pegasus_ray.pipeline.plan import WorkPlan

Targets = Annotated[int, typer.Option("--targets", min=1, help="People who borrow.")]
Sources = Annotated[int, typer.Option("--sources", min=1, help="People who lend.")]
Size = Annotated[int, typer.Option("--size", min=16, help="Side of the pictures in pixels.")]
Frames = Annotated[int, typer.Option("--frames", min=10, help="Frames of each person's video.")]
Shown = Annotated[int, typer.Option("--shown", min=1, help="Frames of each pair that are compared.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Where the search for suitable people begins.")]
Sheet = Annotated[Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Pictures to look at go here.")]


@command
def evaluate_swap(
    attributes: AttributesOption = "",
    targets: Targets = 2,
    sources: Sources = 2,
    size: Size = 256,
    frames: Frames = 80,
    shown: Shown = 6,
    seed: Seed = 900,
    out: Sheet = None,
    *,
    run: Run,
) -> None:
    """Swap on studio people, and compare with the true picture of the target with the borrowed part.

    psnr_part is inside the target's own part and the true borrowed one; beside it the target left as they are, and a plain
    paste. Tracks and avatars are made where they are missing and stay in the library.

    Example: pegasus evaluate swap --library exam --size 128 --json
    """
    from pegasus_ray.library.images import encode_png
    from pegasus_ray.pipeline import evaluate_swap as evaluation
    from pegasus_ray.pipeline.exam import Exam, ExamConfig

    wanted = attributes_of(attributes) or tuple(Attribute)
    config = ExamConfig(size=size, frames=frames, shown=shown, targets=targets, sources=sources, seed=seed)
    exam = Exam.of(config, run.pipeline())
    plan = exam.plan(wanted)
    if run.plan:
        tell_plan(plan, run)
        return
    prepare(plan, run)
    with one_progress("evaluate", "swaps") as progress:
        report = evaluation.evaluate_swap(exam, run.open(), wanted, progress)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for attribute, sheet in report.sheets.items():
            (out / f"swap-{attribute}.png").write_bytes(encode_png(sheet))
    facts = {
        attribute.value: {
            "psnr_part": score.psnr_part,
            "psnr_part_unchanged": score.psnr_part_unchanged,
            "psnr_part_paste": score.psnr_part_paste,
            "psnr_head": score.psnr_head,
            "outside_changed_pixels": score.outside_changed_pixels,
            "pairs": dict(score.pairs),
        }
        for attribute, score in report.attributes.items()
    }
    rows = (
        (name, *(f"{score[column]:.2f}" for column in _COLUMNS), score["outside_changed_pixels"])
        for name, score in facts.items()
    )
    columns = ("attribute", "#part", "#unchanged", "#plain paste", "#head", "#pixels changed outside")
    text = [table(columns, rows), f"bald: {report.bald_psnr_scalp:.2f} dB on the scalp"]
    answer(facts | _people(exam) | {"bald_psnr_scalp": report.bald_psnr_scalp}, as_json=run.json, text=text)


_COLUMNS = ("psnr_part", "psnr_part_unchanged", "psnr_part_paste", "psnr_head")


def prepare(plan: WorkPlan, run: Run) -> None:
    """Carry out what an examination needs.

    Raises:
        Exit: with code 1 where some of it failed, named: there is no examination of the others alone.
    """
    from pegasus_ray.engine import carry

    with jobs_progress() as on_event:
        outcomes = carry.carry_out(plan, run.open(), run.spread(), on_event)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        tell_failures(failed)
        raise typer.Exit(SOME_FAILED)


def _people(exam: Exam) -> dict[str, object]:
    """Who sat the examination, and how."""
    return {
        "targets": [someone.name for someone in exam.targets],
        "sources": [someone.name for someone in exam.sources],
        "size": exam.config.size,
        "frames": exam.config.shown,
    }
