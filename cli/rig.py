"""Commands about the parametric head: what it has, and importing one under the user's own licence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pegasus_ray.cli.options import JsonFlag, command, group_of
from pegasus_ray.cli.output import answer, one_progress, table


def add_to(app: typer.Typer, panel: str) -> None:
    """Register this file's commands."""
    commands = {"info": rig_info, "import-flame": import_flame}
    rig = group_of("The parametric head that everybody is bound to.", commands)
    app.add_typer(rig, name="rig", rich_help_panel=panel)


@command
def rig_info(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The open rig, or one that was imported.")] = "open",
    json: JsonFlag = False,
) -> None:
    """What a rig has: vertices, identity axes by attribute, expressions, joints, landmarks, its dense basis.

    Example: pegasus rig info --json
    """
    from pegasus_ray.rig.info import rig_info

    facts = rig_info(name)
    answer(
        facts, as_json=json, text=[table(("", "#"), ((name.replace("_", " "), value) for name, value in facts.items()))]
    )


@command
def import_flame(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your generic_model.pkl, or an .npz of its arrays.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the rig is to be called here.")] = "flame",
    landmarks: Annotated[
        Literal["measured", "transferred"],
        typer.Option("--landmarks", help="Found on drawings of the head, or carried over from the open rig."),
    ] = "measured",
    json: JsonFlag = False,
) -> None:
    """Make a rig of your own licensed FLAME model; then: pegasus track … --set track.rig=flame.

    FLAME is not shipped: get it under Max Planck's licence (most versions: non-commercial research only; FLAME 2023 Open:
    CC BY 4.0). What is made with it stays under that licence. The pickle is never run: plain arrays are read, anything else
    in it is refused by name. The rig is kept in this machine's cache; import it on each machine that works with it.

    Example: pegasus rig import-flame generic_model.pkl
    """
    from pegasus_ray.stages.import_rig import import_flame

    with one_progress("rig", "importing") as progress:
        imported = import_flame(file, name, progress, landmarks)
    count = int((imported.rig.landmarks.weights > 0).sum())
    facts = {
        "name": name,
        "path": str(imported.path),
        "vertices": len(imported.rig.template),
        "shape": len(imported.rig.shape_names),
        "expression": len(imported.rig.expression_names),
        "joints": len(imported.rig.joint_names),
        "landmarks": count,
        "landmarks_by": imported.landmarks,
    }
    ways = {
        "measured": "found by drawing the head and looking at it",
        "cached": "as measured before on this mesh",
        "transferred": "carried over from the open rig; to measure them: pegasus assets fetch, and import it again",
    }
    text = [
        f"{name}: {facts['vertices']} vertices, kept in {imported.path}",
        f"{count} landmarks {ways[imported.landmarks]}",
    ]
    answer(facts, as_json=json, text=text)
