"""Times what people ask of a library at the size of a data set: `python -m benchmarks.library --swaps 54000`.

It makes a library of swaps with small payloads, and asks for its status, for a swap by name, for the plan of a target, and for
the report; first without a catalogue, then with one. Each question runs in a process of its own, as a command does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.ledger import record, write_events
from pegasus_ray.schemas.manifests import EventKind, InputEntry, Kind, PlannedItem, Provenance, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute

PEOPLE = 300
SHARDS = 2  # of a swap; a real one has about fifteen
QUESTIONS = {
    "status": ("status", "--json"),
    "plan": ("synthesize", "--target", "person 7", "--plan", "--json"),
    "report": ("report", "--json"),
}


def main() -> None:
    """Make the library, ask, and print the figures as one JSON object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--swaps", type=int, default=54_000)
    options.add_argument("--folder", type=Path, help="Where the library is made and stays; by default it is removed.")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="pegasus-bench-") as temporary:
        folder = given.folder or Path(temporary)
        began = time.monotonic()
        if not (folder / "library.json").exists():
            make_library(folder, given.swaps)
        figures: dict[str, object] = {"swaps": given.swaps, "made_in": round(time.monotonic() - began, 1)}
        shutil.rmtree(folder / "catalogue", ignore_errors=True)
        figures["status, no catalogue"] = seconds_of(folder, *QUESTIONS["status"])
        figures |= {name: seconds_of(folder, *question) for name, question in QUESTIONS.items()}
        figures["find"] = seconds_to_find(folder)
        figures["report_bytes"] = (folder / "report.html").stat().st_size
        figures["catalogue_bytes"] = sum(path.stat().st_size for path in folder.glob("catalogue/*/*"))
    figures["machine"] = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=1))


def make_library(folder: Path, swaps: int) -> None:
    """People with avatars, and swaps of the first of them; the disk is not waited for."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # the figures are of reading
    library = Library(folder)
    for number in range(PEOPLE):
        facts = Provenance(
            source=f"{number}.mp4",
            seen=(person(number),),
            inputs=(InputEntry(name="track", key=track(number)),),
            attributes=tuple(Attribute),
            rig="open",
        )
        library.commit(Kind.AVATARS, avatar(number), {"avatar.safetensors": b"x"}, facts)
    for number, (target, lender, attribute) in zip(range(swaps), pairs(), strict=False):
        facts = Provenance(
            source=f"{attribute} of person {lender} on person {target}",
            seen=(person(target), person(lender)),
            inputs=tuple(
                InputEntry(name=name, key=key)
                for name, key in (("track", track(target)), ("target", avatar(target)), ("avatar", avatar(lender)))
            ),
            attributes=(attribute,),
            config={"frames": 240, "judge": {"parser": "auto", "identity": "auto"}},
            summary={"frames": 240, "failed": 0, "coverage": 0.7, "seam": 0.8, "attribute": 0.9, "identity": 0.6},
            rig="open",
        )
        shards = {f"part-{shard}.parquet": b"%d %d" % (number, shard) for shard in range(SHARDS)}
        key = f"{number:016x}"
        library.commit(Kind.SWAPS, key, shards, facts)
        record(library, PlannedItem(stage=Stage.SWAP, key=key, subject=facts.source), EventKind.DONE, seconds=60.0)
    write_events(library)


def pairs() -> Iterator[tuple[int, int, Attribute]]:
    """Targets, lenders and attributes, target by target."""
    for target in range(PEOPLE):
        for lender in range(PEOPLE):
            if lender != target:
                for attribute in Attribute:
                    yield target, lender, attribute


def person(number: int) -> SeenPerson:
    """Somebody with a name and a consent."""
    return SeenPerson(recording=track(number), name=f"person {number}", consent="signed, for research alone")


def track(number: int) -> str:
    """The key of somebody's track."""
    return f"{0xA000 + number:016x}"


def avatar(number: int) -> str:
    """The key of somebody's avatar."""
    return f"{0xB000 + number:016x}"


def seconds_of(folder: Path, *arguments: str) -> float:
    """How long a command takes, from its start to its end."""
    began = time.monotonic()
    command = [
        sys.executable,
        "-c",
        "from pegasus_ray.cli.main import main; main()",
        *arguments,
        "--library",
        str(folder),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return round(time.monotonic() - began, 2)


def seconds_to_find(folder: Path) -> float:
    """How long it takes to find a swap by its name, without the start of Python."""
    text = (
        "import sys, time; from pegasus_ray.library.library import Library;"
        "from pegasus_ray.library.records.catalogue import Catalogue; from pegasus_ray.schemas.manifests import Kind;"
        "began = time.monotonic(); Catalogue(Library(sys.argv[1])).find('hair of person 5 on person 1', Kind.SWAPS);"
        "print(time.monotonic() - began)"
    )
    ran = subprocess.run([sys.executable, "-c", text, str(folder)], check=True, capture_output=True, text=True)
    return round(float(ran.stdout), 2)


if __name__ == "__main__":
    main()
