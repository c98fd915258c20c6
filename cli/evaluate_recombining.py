"""Commands that hold avatars, and what is recombined, against the truth on studio people: evaluate people, swap and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pegasus_ray.cli.options import SOME_FAILED, AttributesOption, Run, attributes_of, command
from pegasus_ray.cli.output import answer, jobs_progress, one_progress, table
from pegasus_ray.cli.running import tell_failures, tell_plan
from pegasus_ray.schemas.parts import Attribute

if TYPE_CHECKING:
    from rich.table import Table

    from pegasus_ray.evaluate.exam import Exam
    from pegasus_ray.evaluate.generative import GenerativeReport
    from pegasus_ray.evaluate.transfer import WornScore
    from pegasus_ray.jobs.plan import WorkPlan
    from pegasus_ray.library.track import Bytes

Targets = Annotated[int, typer.Option("--targets", min=1, help="People who borrow.")]
Sources = Annotated[int, typer.Option("--sources", min=1, help="People who lend.")]
Size = Annotated[int, typer.Option("--size", min=16, help="Side of the pictures in pixels.")]
Frames = Annotated[int, typer.Option("--frames", min=10, help="Frames of each person's video.")]
Shown = Annotated[int, typer.Option("--shown", min=1, help="Frames of each pair that are compared.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Where the search for suitable people begins.")]
Sheet = Annotated[Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Pictures to look at go here.")]

Baselines = Annotated[
    str, typer.Option("--baselines", metavar="NAMES", help="Beside it: the paper's ablations; separated by commas.")
]


@command
def evaluate_people(
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 3,
    size: Size = 256,
    frames: Frames = 80,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first person's; the others follow.")] = 900,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PNG", help="Truth above render, to look at.")
    ] = None,
    *,
    run: Run,
) -> None:
    """Fit avatars of studio people, and draw frames that no fit saw (unseen) and the head turned by 30° (aside).

    Each person's figures are as those of `evaluate avatar`. Tracks and avatars stay in the library.

    Example: pegasus evaluate people --people 2 --size 192 --library exam --json
    """
    from pegasus_ray.evaluate import people as evaluation
    from pegasus_ray.evaluate.exam import ExamConfig
    from pegasus_ray.jobs.studio import StudioConfig
    from pegasus_ray.library.images import encode_png

    film = StudioConfig(frames=frames, size=size, fps=ExamConfig().fps)
    exam = evaluation.PeopleExam(people=people, seed=seed, film=film, fit=run.pipeline().fit)
    plan = exam.plan()
    if run.plan:
        tell_plan(plan, run)
        return
    prepare(plan, run)
    with one_progress("evaluate", "people") as progress:
        report = evaluation.evaluate_people(exam, run.open(), progress)
    if out is not None:
        out.write_bytes(encode_png(report.sheet))
    facts = report.facts()
    shown = {name: facts["people"][name] for name in facts["people"]} | {"mean": facts}
    rows = [(name, *(row[where][f] for where in ("unseen", "aside") for f in _FIGURES)) for name, row in shown.items()]
    columns = ("", *(f"#{where} {figure}" for where in ("unseen", "aside") for figure in _FIGURES))
    text = [table(columns, [(row[0], *(f"{value:.3f}" for value in row[1:])) for row in rows])]
    answer(facts | {"size": size, "preset": run.preset}, as_json=run.json, text=text)


_FIGURES = ("psnr", "ssim", "psnr_face")


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
    from pegasus_ray.evaluate import swap as evaluation
    from pegasus_ray.evaluate.exam import Exam, ExamConfig
    from pegasus_ray.library.images import encode_png

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
    text += [f"left out: {pair}, whose avatar does not show it" for pair in report.lacking]
    more = {"bald_psnr_scalp": report.bald_psnr_scalp, "lacking": list(report.lacking)}
    answer(facts | _people(exam) | more, as_json=run.json, text=text)


_COLUMNS = ("psnr_part", "psnr_part_unchanged", "psnr_part_paste", "psnr_head")


@command
def evaluate_generative(
    attributes: AttributesOption = "",
    targets: Targets = 1,
    sources: Sources = 2,
    size: Size = 256,
    frames: Frames = 80,
    shown: Shown = 6,
    seed: Seed = 900,
    baselines: Baselines = "no_synthesis_latent_swap,no_synthesis_latent_interpolation",
    identity: Annotated[
        str, typer.Option("--identity", help="What measures identity: auto, dlib, arcface, none.")
    ] = "auto",
    out: Sheet = None,
    *,
    run: Run,
) -> None:
    """Train generative avatars of studio people, and compare what each code changes with the true change.

    In poses and expressions that no fit has seen. Tracks, avatars, swaps and models stay in the library.

    Example: pegasus evaluate generative --library exam --size 128 --json
    """
    from pegasus_ray.evaluate import generative as evaluation
    from pegasus_ray.evaluate.exam import Exam, ExamConfig
    from pegasus_ray.perception.nets.identity import identity_model_of

    wanted = attributes_of(attributes) or tuple(Attribute)
    config = ExamConfig(size=size, frames=frames, shown=shown, targets=targets, sources=sources, seed=seed)
    exam, library = Exam.of(config, run.pipeline()), run.open()
    named = evaluation.baselines_of(baselines)
    plan = exam.plan_models(wanted, unswapped=bool(named))
    if run.plan:
        tell_plan(plan, run)
        return
    prepare(plan, run)
    faces = identity_model_of(identity)
    with one_progress("evaluate", "generative avatar") as progress:
        report = evaluation.evaluate_generative(exam, library, wanted, progress, faces=faces)
    ablated = {}
    for name in named:
        with one_progress("evaluate", name) as progress:
            ablated[name] = evaluation.evaluate_baseline(name, exam, library, wanted, progress, faces=faces)
    if out is not None:
        pictures = {"generative": report.sheet, "interpolation": report.strips}
        _write(out, pictures | {name: other.sheet for name, other in ablated.items()})
    facts = _codes(report) | {
        "swaps": {name: asdict(score) for name, score in report.swaps.items()},
        "baselines": {name: _codes(other) for name, other in ablated.items()},
        "identity_model": identity if faces else None,
    }
    if faces is None:
        facts["identity_missing"] = "no identity model on this machine; `pegasus doctor` says what it needs"
    text: list[Table | str] = [_codes_table(report)]
    for name, other in ablated.items():
        text += [name, _codes_table(other)]
    answer(facts | _people(exam), as_json=run.json, text=text)


@command
def evaluate_transfer(
    attributes: AttributesOption = "",
    sources: Sources = 2,
    users: Annotated[int, typer.Option("--users", min=1, help="People who get an attribute.")] = 1,
    size: Size = 256,
    frames: Frames = 80,
    shown: Shown = 6,
    seed: Seed = 900,
    lenders: Annotated[
        str, typer.Option("--lenders", metavar="LIBRARY", help="Where single attribute avatars are fitted.")
    ] = "",
    out: Sheet = None,
    *,
    run: Run,
) -> None:
    """Put attributes on new studio people, from a generative avatar and from single avatars, and compare with the truth.

    psnr_gap_db is what the generative avatar reaches against its own truth less what the user reaches.

    Example: pegasus evaluate transfer --library exam --size 128 --json
    """
    from pegasus_ray.evaluate import transfer as evaluation
    from pegasus_ray.evaluate.exam import Exam, ExamConfig
    from pegasus_ray.library.library import Library

    wanted = attributes_of(attributes) or tuple(Attribute)
    config = ExamConfig(size=size, frames=frames, shown=shown, targets=1, sources=sources, users=users, seed=seed)
    exam = Exam.of(config, run.pipeline())
    plan = exam.plan_models(wanted)
    if run.plan:
        tell_plan(plan, run)
        return
    prepare(plan, run)
    elsewhere = Library(lenders) if lenders else None
    if elsewhere is not None:
        prepare(exam.plan_lenders(wanted), replace(run, library=lenders))
    with one_progress("evaluate", "transfers") as progress:
        report = evaluation.evaluate_transfer(exam, run.open(), wanted, progress, lenders=elsewhere)
    if out is not None:
        _write(out, {"transfer": report.sheet})
    ways = {"from_generative": report.from_generative, "from_avatar": report.from_avatar}
    facts = {way: {a.value: _worn(score) for a, score in by.items()} for way, by in ways.items()}
    total = {way: _worn(score) for way, score in report.scores.items()}
    head = {name: total["from_generative"][name] for name in ("psnr_truth", "psnr_gap_db")}
    head["outside_max_difference"] = max(score["outside_max_difference"] for score in total.values())
    rows = [
        (way, name, *(f"{value:.2f}" for value in score.values()))
        for way, by in facts.items()
        for name, score in (by | {"all": total[way]}).items()
    ]
    columns = ("", "attribute", *(f"#{name}" for name in total["from_avatar"]))
    text = [table(columns, rows), f"{report.seconds_per_user:.2f} s an attribute and user"]
    answer(
        head | {"seconds_per_user": report.seconds_per_user, "mean": total} | facts | _people(exam),
        as_json=run.json,
        text=text,
    )


def _write(folder: Path, pictures: Mapping[str, Bytes | None]) -> None:
    from pegasus_ray.library.images import encode_png

    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        if picture is not None:
            (folder / f"{name}.png").write_bytes(encode_png(picture))


def _codes(report: GenerativeReport) -> dict[str, Any]:
    """Each attribute's figures, and the mean of all swaps."""
    return {attribute.value: asdict(score) for attribute, score in report.attributes.items()} | {
        "mean": asdict(report.mean)
    }


def _codes_table(report: GenerativeReport) -> Table:
    rows = [
        (name, *("–" if value is None else f"{value:.2f}" for value in score.values()))
        for name, score in _codes(report).items()
    ]
    return table(("attribute", *(f"#{name}" for name in asdict(report.mean))), rows)


def _worn(score: WornScore) -> dict[str, float]:
    return asdict(score) | {"psnr_gap_db": score.psnr_gap_db}


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
