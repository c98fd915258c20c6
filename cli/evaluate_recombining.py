"""Commands that compare recombined studio people with the truth: evaluate swap, generative, transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pegasus_ray.cli.options import AttributesOption, PictureSize, Run, attributes_of, command
from pegasus_ray.cli.output import answer, one_progress, table
from pegasus_ray.cli.running import prepare
from pegasus_ray.schemas.parts import Attribute

if TYPE_CHECKING:
    from rich.table import Table

    from pegasus_ray.evaluate.exam import Exam
    from pegasus_ray.evaluate.generative import GenerativeReport
    from pegasus_ray.library.track import Bytes

Targets = Annotated[int, Option("--targets", min=1, help="People who borrow.")]
Sources = Annotated[int, Option("--sources", min=1, help="People who lend.")]
Sheets = Annotated[Path | None, Option("--out", "-o", metavar="FOLDER", help="Pictures to look at go here.")]
FilmFrames = Annotated[int, Option("--frames", min=10, help="Frames of each person's video.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filming:
    """The options of how an examination's people are chosen, filmed and compared."""

    size: PictureSize = 256
    frames: FilmFrames = 80
    shown: Annotated[int, Option("--shown", min=1, help="Frames of each pair that are compared.")] = 6
    seed: Annotated[int, Option("--seed", min=0, help="Where the search for suitable people begins.")] = 900

    def exam(self, run: Run, attributes: str, *, targets: int, sources: int, users: int = 0) -> Exam:
        """The examination of so many people with these attributes, which are separated by commas; all without any."""
        from pegasus_ray.evaluate.exam import Exam, ExamConfig

        config = ExamConfig(
            attributes=attributes_of(attributes) or tuple(Attribute),
            size=self.size,
            frames=self.frames,
            shown=self.shown,
            targets=targets,
            sources=sources,
            users=users,
            seed=self.seed,
        )
        return Exam.of(config, run.pipeline())


@command
def evaluate_swap(
    attributes: AttributesOption = "",
    targets: Targets = 2,
    sources: Sources = 2,
    *,
    filming: Filming,
    out: Sheets = None,
    run: Run,
) -> None:
    """Swap on studio people, and compare with the true picture of the target with the borrowed part.

    psnr_part is inside the target's own part and the true borrowed one; beside it the target left as they are, and a plain
    paste. Tracks and avatars are made where they are missing and stay in the library.

    Example: pegasus evaluate swap --library exam --size 128 --json
    """
    from pegasus_ray.evaluate import swap as evaluate

    exam = filming.exam(run, attributes, targets=targets, sources=sources)
    if not prepare(exam.plan(), run):
        return
    with one_progress("evaluate", "swaps") as progress:
        report = evaluate.evaluate_swap(exam, run.open(), progress)
    if out is not None:
        _write_pictures(out, {f"swap-{attribute}": sheet for attribute, sheet in report.sheets.items()})
    facts = report.facts()
    figures = ("psnr_part", "psnr_part_unchanged", "psnr_part_paste", "psnr_head")
    rows = (
        (name, *(f"{score[figure]:.2f}" for figure in figures), score["outside_changed_pixels"])
        for name, score in facts.items()
    )
    columns = ("attribute", "#part", "#unchanged", "#plain paste", "#head", "#pixels changed outside")
    text = [table(columns, rows), f"bald: {report.bald_psnr_scalp:.2f} dB on the scalp"]
    text += [f"left out: {pair}, whose avatar does not show it" for pair in report.lacking]
    more = {"bald_psnr_scalp": report.bald_psnr_scalp, "lacking": list(report.lacking)}
    answer(facts | exam.facts() | more, as_json=run.json, text=text)


@command
def evaluate_generative(
    attributes: AttributesOption = "",
    targets: Targets = 1,
    sources: Sources = 2,
    *,
    filming: Filming,
    baselines: Annotated[
        str, Option("--baselines", metavar="NAMES", help="Beside it: the paper's ablations; separated by commas.")
    ] = "no_synthesis_latent_swap,no_synthesis_latent_interpolation",
    identity: Annotated[str, Option("--identity", help="What measures identity: auto, dlib, arcface, none.")] = "auto",
    out: Sheets = None,
    run: Run,
) -> None:
    """Train generative avatars of studio people, and compare what each code changes with the true change.

    In poses and expressions that no fit has seen. Tracks, avatars, swaps and models stay in the library.

    Example: pegasus evaluate generative --library exam --size 128 --json
    """
    from pegasus_ray.evaluate import generative as evaluate
    from pegasus_ray.perception.nets.identity import identity_model_of

    exam, library = filming.exam(run, attributes, targets=targets, sources=sources), run.open()
    names = evaluate.baselines_of(baselines)
    if not prepare(exam.plan_models(unswapped=bool(names)), run):
        return
    faces = identity_model_of(identity)
    with one_progress("evaluate", "generative avatar") as progress:
        report = evaluate.evaluate_generative(exam, library, progress, faces=faces)
    ablated: dict[str, GenerativeReport] = {}
    for name in names:
        with one_progress("evaluate", name) as progress:
            ablated[name] = evaluate.evaluate_baseline(name, exam, library, progress, faces=faces)
    if out is not None:
        pictures = {"generative": report.sheet, "interpolation": report.strips}
        _write_pictures(out, pictures | {name: other.sheet for name, other in ablated.items()})
    facts = report.facts() | {
        "swaps": {name: asdict(score) for name, score in report.swaps.items()},
        "baselines": {name: other.facts() for name, other in ablated.items()},
        "identity_model": identity if faces else None,
    }
    if faces is None:
        facts["identity_missing"] = "no identity model on this machine; `pegasus doctor` says what it needs"
    text: list[Table | str] = [_code_table(report)]
    for name, other in ablated.items():
        text += [name, _code_table(other)]
    answer(facts | exam.facts(), as_json=run.json, text=text)


@command
def evaluate_transfer(
    attributes: AttributesOption = "",
    sources: Sources = 2,
    users: Annotated[int, Option("--users", min=1, help="People who get an attribute.")] = 1,
    *,
    filming: Filming,
    lenders: Annotated[
        str, Option("--lenders", metavar="LIBRARY", help="Where single attribute avatars are fitted.")
    ] = "",
    out: Sheets = None,
    run: Run,
) -> None:
    """Put attributes on new studio people, from a generative avatar and from single avatars, and compare with the truth.

    psnr_gap_db is what the generative avatar reaches against its own truth less what the user reaches.

    Example: pegasus evaluate transfer --library exam --size 128 --json
    """
    from pegasus_ray.evaluate import transfer as evaluate
    from pegasus_ray.library.library import Library

    exam = filming.exam(run, attributes, targets=1, sources=sources, users=users)
    if not prepare(exam.plan_models(), run):
        return
    elsewhere = Library(lenders) if lenders else None
    if elsewhere is not None:
        prepare(exam.plan_lenders(), replace(run, library=lenders))
    with one_progress("evaluate", "transfers") as progress:
        report = evaluate.evaluate_transfer(exam, run.open(), progress, lenders=elsewhere)
    if out is not None:
        _write_pictures(out, {"transfer": report.sheet})
    facts = report.facts()
    rows = [
        (giver, name, *(f"{value:.2f}" for value in score.values()))
        for giver in report.scores
        for name, score in (facts[giver] | {"all": facts["mean"][giver]}).items()
    ]
    columns = ("", "attribute", *(f"#{figure}" for figure in facts["mean"]["from_avatar"]))
    text = [table(columns, rows), f"{report.seconds_per_user:.2f} s an attribute and user"]
    answer(facts | exam.facts(), as_json=run.json, text=text)


def _write_pictures(folder: Path, pictures: Mapping[str, Bytes]) -> None:
    """Write pictures into a folder, as NAME.png each."""
    from pegasus_ray.library.images import encode_png

    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(encode_png(picture))


def _code_table(report: GenerativeReport) -> Table:
    """The figures of a generative avatar for a person: a row for each attribute, and the means."""
    rows = [
        (name, *("–" if value is None else f"{value:.2f}" for value in score.values()))
        for name, score in report.facts().items()
    ]
    return table(("attribute", *(f"#{figure}" for figure in asdict(report.mean))), rows)
