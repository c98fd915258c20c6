"""All commands: one JSON object on standard output and nothing else, exit codes, errors that name the input and the way out,
second runs that redo nothing, and plans that do nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pegasus_ray.cli.main import app
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.ledger import record
from pegasus_ray.library.tracks import load_track, load_truth
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, PlannedItem, Provenance, Stage
from tests.cli.conftest import Made, Pegasus, run

COMMANDS = [
    ["demo"], ["doctor"], ["assets", "list"], ["assets", "fetch"], ["rig", "info"], ["studio", "render"], ["track"],
    ["build-db"], ["synthesize"], ["personalize"], ["transfer"], ["run"], ["render"], ["evaluate", "avatar"],
    ["evaluate", "ablation"],
    ["evaluate", "people"], ["evaluate", "studio"], ["evaluate", "tracking"], ["evaluate", "swap"], ["evaluate", "generative"],
    ["evaluate", "transfer"],
    ["bench", "raster"], ["bench", "render"], ["bench", "step"], ["bench", "fit"], ["status"], ["retry"], ["verify"],
    ["migrate"], ["gc"], ["report"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(pegasus: Pegasus, command: list[str]) -> None:
    said = pegasus(*command, "--help")
    assert said.code == 0
    assert f"Example: pegasus {' '.join(command)}" in " ".join(said.out.split())


def test_help_is_grouped_and_an_unknown_command_is_named(pegasus: Pegasus) -> None:
    said = pegasus("--help")
    for panel in ("Begin", "People into the library", "Recombine them", "Look", "Measure", "The library"):
        assert panel in said.out
    assert pegasus("bild-db").code == 2
    assert app.registered_callback is not None


@pytest.mark.parametrize("command", ["build-db", "synthesize", "personalize", "transfer"])
def test_work_answers_with_one_object(made: Made, command: str) -> None:
    said = made.said[command]
    assert said.code == 0, said.err
    assert set(said.json) >= {"done", "skipped", "failed", "seconds"}
    assert said.json["failed"] == []
    assert len(said.json["done"]) == {"build-db": 2, "synthesize": 2, "personalize": 1, "transfer": 1}[command]


def test_a_second_run_finds_all_done(made: Made) -> None:
    again = run("build-db", "painted-0", "painted-1", *made.options, "--json")
    assert again.code == 0
    assert sorted(again.json["skipped"]) == sorted(made.said["build-db"].json["done"])
    assert again.json["done"] == []


def test_a_bad_input_is_named_and_the_others_are_done(made: Made, tmp_path: Path) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("this is no video")
    gone = tmp_path / "gone.mp4"
    shutil.copytree(made.library, tmp_path / "lib")
    options = ["--library", tmp_path / "lib", "--config", made.config, "--engine", "inline", "--json"]
    said = run("build-db", notes, "painted-0", gone, *options)
    assert said.code == 1
    assert {(item["input"], item["stage"], item["reason"]) for item in said.json["failed"]} == {
        (str(notes), "track", Reason.NOT_A_VIDEO.value),
        (str(gone), "track", Reason.NOT_FOUND.value),
    }
    assert all(item["message"] for item in said.json["failed"])
    assert len(said.json["skipped"]) == 1
    assert str(notes) in said.err.replace("\n", "")


def test_a_plan_counts_and_does_nothing(made: Made, tmp_path: Path) -> None:
    before = sorted(made.library.rglob("*"))
    said = run("synthesize", "--target", "painted-0", *made.options, "--plan", "--json")
    assert said.code == 0
    assert said.json["counts"]["swap"] == {"to_do": len(said.json["plan"]) - 2, "done": 2}
    assert len(said.json["plan"]) > 2
    assert {item["state"] for item in said.json["plan"] if item["input"].startswith("hair")} == {"done"}
    assert sorted(made.library.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "reason", "says"),
    [
        (["build-db"], "bad_config", "name some videos"),
        (["synthesize", "--target", "nobody"], "bad_reference", "painted-0"),
        (["synthesize", "--target", "painted-0", "--attributes", "hare"], "bad_config", "hair"),
        (["synthesize", "--target", "painted-0", "--attributes", "hat"], "missing_attribute", "hat"),
        (["synthesize", "--target", "painted-0", "--set", "swap.frame=3"], "bad_config", "frames"),
        (["synthesize", "--target", "painted-0", "--set", "engine.worker=3"], "bad_config", "workers"),
        (["synthesize", "--target", "painted-0", "--preset", "slow"], "bad_config", "fast"),
        (["personalize", "--target", "painted-1"], "bad_reference", "synthesize"),
        (["transfer", "--source", "painted-0", "--user", "painted-1", "--attributes", "hat"], "missing_attribute", "hat"),
        (["transfer", "--source", "painted-0", "--user", "painted-1", "--attributes", "hair", "--code", "hair"],
         "bad_config", "hair=anna"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_a_sentence(made: Made, arguments: list[str], reason: str, says: str) -> None:
    said = run(*arguments, *made.options, "--json")
    assert said.code == 2
    assert said.json["error"]["reason"] == reason
    assert says in said.json["error"]["message"] + said.json["error"]["subject"]
    assert says in " ".join(said.err.split())
    assert "Traceback" not in said.err
    silent = run(*arguments, *made.options)
    assert (silent.code, silent.out) == (2, "")


def test_status_lists_what_is_there(made: Made) -> None:
    said = run("status", "--library", made.library, "--json")
    others = dict.fromkeys(("stale", "smaller", "running", "waiting", "failed", "quarantined"), 0)
    assert said.json["fit"] == {"done": 2, **others}
    assert {item["source"] for item in said.json["results"]["avatars"]} == {"painted-0", "painted-1"}
    assert "painted-0" in run("status", "--library", made.library).out


def test_an_avatar_is_held_against_its_unseen_frames(made: Made, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    said = run("evaluate", "avatar", "painted-0", "--library", made.library, "--out", sheet, "--json")
    assert said.code == 0, said.err
    assert said.json["frames"] == 1
    assert 5 < said.json["psnr"] < 60
    assert 0 < said.json["ssim"] <= 1
    assert cv2.imread(str(sheet)).shape == (96, 48, 3)


def test_a_person_is_drawn_with_borrowed_hair(made: Made, tmp_path: Path) -> None:
    bare, dressed = tmp_path / "a.png", tmp_path / "b.png"
    options = ["--library", made.library, "--unseen", "--json"]
    assert run("render", "painted-0", "--out", bare, *options).json["frames"] == 1
    assert run("render", "painted-0", "--wear", "hair=painted-1", "--out", dressed, *options).code == 0
    assert bare.read_bytes() != dressed.read_bytes()


def test_a_model_is_drawn_between_two_codes_as_a_video(made: Made, tmp_path: Path) -> None:
    model = made.said["personalize"].json["done"][0]
    video = tmp_path / "deep" / "mixed.mp4"
    mix = ("--mix", "nose=own:painted-1:0.5", "--wear", "hair=painted-1")
    said = run("render", model, *mix, "--drive", "painted-1", "--out", video, "--library", made.library, "--json")
    assert said.code == 0, said.err
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == said.json["frames"] == 8
    turned = run(
        "render", model, "--turntable", "--frames", "3", "--out", tmp_path / "t.png", "--library", made.library
    )
    assert turned.code == 0, turned.err
    assert cv2.imread(str(tmp_path / "t.png")).shape == (48, 3 * 48 + 4, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["painted-0", "--out", "x.gif"],
        ["painted-0", "--mix", "hair=own:painted-1:0.5", "--out", "x.png"],
        ["painted-0", "--mix", "hair=half", "--out", "x.png"],
        ["painted-0", "--wear", "hair", "--out", "x.png"],
        ["painted-0", "--drive", "nothing", "--out", "x.png"],
        ["transfers/nothing", "--out", "x.png"],
    ],
)
def test_a_picture_that_cannot_be_is_refused(made: Made, arguments: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("render", *arguments, "--library", made.library)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error ")
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_what_was_changed(made: Made, tmp_path: Path) -> None:
    assert run("verify", "--library", made.library, "--json").json["bad"] == []
    copy = Library(tmp_path / "lib")
    copy.commit(Kind.AVATARS, "0" * 16, {"a.bin": b"abc"}, Provenance(source="a"))
    path = next((tmp_path / "lib" / "avatars" / ("0" * 16)).glob("a-*.bin"))
    path.write_bytes(b"abd")
    said = run("verify", "--library", tmp_path / "lib", "--json")
    assert said.code == 1
    assert len(said.json["bad"]) == 1
    assert path.name in said.json["bad"][0]


def test_what_was_set_aside_is_released_by_key_or_input(tmp_path: Path) -> None:
    library = Library(tmp_path)
    for number, name in enumerate(["one.mp4", "two.mp4", "three.mp4"]):
        item = PlannedItem(stage=Stage.FIT, key=f"{number:x}" * 16, subject=name)
        record(library, item, EventKind.QUARANTINED, reason=Reason.WORKER_DIED, message="died")
    place = ["--library", tmp_path, "--json"]
    assert [item["input"] for item in run("retry", "two.mp4", *place).json["released"]] == ["two.mp4"]
    assert run("status", *place).json["fit"]["quarantined"] == 2
    assert run("retry", "two.mp4", *place).code == 2
    assert len(run("retry", *place).json["released"]) == 2
    assert run("retry", *place).json["released"] == []


def test_gc_says_what_it_would_sweep_before_it_does(tmp_path: Path) -> None:
    left = tmp_path / "tracks" / ("a" * 16) / "frames-x.parquet"
    Library(tmp_path).put("tracks/" + "a" * 16 + "/frames-x.parquet", b"half")
    place = ["--grace", "0", "--library", tmp_path, "--json"]
    assert len(run("gc", "--plan", *place).json["swept"]) == 1
    assert left.exists()
    assert len(run("gc", *place).json["swept"]) == 1
    assert not left.exists()


def test_a_report_is_written_into_the_library(made: Made, tmp_path: Path) -> None:
    said = run("report", "--library", made.library, "--out", tmp_path / "page.html", "--json")
    assert said.code == 0, said.err
    assert said.json == {"report": str(tmp_path / "page.html")}
    assert "painted-0" in (tmp_path / "page.html").read_text()


def test_benchmarks_answer_with_the_same_keys(made: Made) -> None:
    keys = {
        "seconds_per_frame",
        "frames_per_second",
        "points",
        "size",
        "frames",
        "preset",
        "threads",
        "device",
        "peak_gib",
    }
    settings = ["--library", made.library, "--config", made.config, "--json"]
    raster = ["--points", "300", "--size", "32", "--per-pixel", "4", "--repeats", "1", "--json"]
    answers = [
        run("bench", "raster", *raster),
        run("bench", "render", "painted-0", "--frames", "2", "--size", "32", "--library", made.library, "--json"),
        run("bench", "step", "painted-0", "--steps", "2", *settings),
        run("bench", "fit", "painted-0", *settings),
    ]
    for said in answers:
        assert said.code == 0, said.err
        assert keys <= set(said.json)
        assert said.json["seconds_per_frame"] > 0


def test_rig_assets_and_doctor_answer(pegasus: Pegasus, tmp_path: Path) -> None:
    assert {"name", "vertices", "shape", "expression", "joints", "landmarks", "baked_bytes"} <= set(
        pegasus("rig", "info", "--json").json
    )
    assert {"name", "state", "licence"} <= set(pegasus("assets", "list", "--json").json["assets"][0])
    said = pegasus("doctor", "--library", tmp_path / "lib", "--json")
    assert said.code == 0, said.out
    assert said.json["ready"] is True
    assert not (tmp_path / "lib").exists()
    assert json.loads(said.out)["checks"]


def test_studio_people_come_as_videos_and_tracks(tmp_path: Path) -> None:
    options = ["--library", tmp_path / "lib", "--engine", "inline", "--json"]
    said = run("studio", "render", tmp_path / "out", "--frames", "2", "--size", "16", "--seed", "3", *options)
    assert said.code == 0, said.err
    library = Library(tmp_path / "lib")
    (key,) = said.json["done"]
    assert library.keys(Kind.TRACKS) == [key]
    track, truth = load_track(library, key), load_truth(library, key)
    assert truth is not None
    assert 0.5 < np.median(truth.depth[track.mattes == 255]) < 2  # metres
    assert (truth.depth[track.mattes == 0] == 0).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact.png", "person-3.mp4"]
    assert run("studio", "render", tmp_path / "out", "--swap", "hair=anna", *options).code == 2


def test_a_word_is_mended_without_making_anything_anew(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.library, tmp_path / "library")
    options = ["--library", str(tmp_path / "library"), "--config", str(made.config), "--engine", "inline", "--json"]
    table = tmp_path / "videos.csv"
    avatar = made.said["build-db"].json["done"][1]
    for name, consent, gives in (("ana", "", "hair"), ("anna", "signed", "all")):
        table.write_text(f"path,attributes,subject,consent\n{'0' * 15}1,{gives},{name},{consent}\n")
        said = run("build-db", "--videos", table, *options)
        assert (said.code, said.json["done"], said.json["skipped"]) == (0, [], [avatar]), said.err
    results = run("status", "--library", tmp_path / "library", "--json").json["results"]
    (anna,) = (item for item in results["avatars"] if item["name"] == "anna")
    assert (anna["key"], anna["people"]) == (avatar, [{"name": "anna", "consent": "signed"}])
    assert len(anna["attributes"]) > 1
    for kind in ("swaps", "models", "transfers"):
        for item in results[kind]:
            assert {"name": "anna", "consent": "signed"} in item["people"], "whoever is seen in it, under what consent"
            assert {person["name"] for person in item["people"]} == {"anna", "painted-0"}
    again = run("synthesize", "--target", "painted-0", "--attributes", "hair,nose", "--avatars", "anna", *options)
    assert (again.code, again.json["done"]) == (0, []), "the swaps of before, by the new name"


def test_two_people_of_one_name_are_told_apart_by_keys(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.library, tmp_path / "library")
    options = ["--library", str(tmp_path / "library"), "--config", str(made.config), "--engine", "inline", "--json"]
    assert run("build-db", "painted-0", "painted-1", "--subject", "anna", *options).code == 0
    picture = tmp_path / "anna.png"
    place = ("--library", tmp_path / "library", "--json")
    for said in (
        run("synthesize", "--target", "anna", *options),
        run(
            "transfer",
            "--source",
            "anna",
            "--user",
            made.said["build-db"].json["done"][0],
            "--attributes",
            "hair",
            *options,
        ),
        run("render", "anna", "--out", picture, *place),
        run("render", made.said["build-db"].json["done"][0], "--wear", "hair=anna", "--out", picture, *place),
    ):
        assert said.code == 2
        assert all(key in said.json["error"]["message"] for key in made.said["build-db"].json["done"])


def test_status_can_be_watched_until_all_is_done(made: Made) -> None:
    said = run("status", "--watch", "1", "--library", made.library, "--json")
    (line,) = said.out.splitlines()
    assert (said.code, json.loads(line)["fit"]["done"]) == (0, 2)
    assert "time left" in run("status", "--watch", "1", "--library", made.library).out
