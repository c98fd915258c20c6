"""Invariants of choosing: what is asked for comes, what is stale does not, consent comes along, and mistakes name the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pegasus_ray
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance, Recording
from pegasus_ray.schemas.parts import Attribute
from tests.library import test_swaps, test_tracks
from tests.library.test_tracks import make_track
from tests.reader.small import ADA, BERT, CARL, FRAMES, SWAPS, make_stale, track_of

FIRST, SECOND, NOSE = SWAPS


def refusal(caught: pytest.ExceptionInfo[PegasusError]) -> tuple[Reason, str]:
    return caught.value.reason, str(caught.value)


def test_three_lines_are_enough(shared: Path) -> None:
    library = pegasus_ray.open(str(shared))
    seen = [(row["image"].shape, row["consent"]) for row in library.swaps(attribute="hair").rows()]
    assert len(seen) == 2 * FRAMES
    assert set(seen) == {
        ((8, 8, 3), "ada: research; bert: research and teaching"),
        ((8, 8, 3), "ada: research; carl: not recorded"),
    }


def test_importing_and_reading_rows_needs_neither_torch_nor_ray(shared: Path) -> None:
    lines = (
        "import sys, pegasus_ray; early = set(sys.modules)",
        f"count = sum(1 for _ in pegasus_ray.open({str(shared)!r}).tracks.rows())",
        "print(count, 'pyarrow' in early, 'torch' in sys.modules, 'ray' in sys.modules)",
    )
    said = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["15", "False", "False", "False"]


def test_results_are_chosen_by_what_people_know_of_them(shared: Path) -> None:
    library = pegasus_ray.open(shared)
    assert [result.name for result in library.tracks] == ["ada", "bert", "carl"]
    assert [len(kind) for kind in (library.tracks, library.avatars, library.swaps, library.models)] == [3, 2, 3, 1]
    swaps = library.swaps
    assert [result.key for result in swaps(attribute="hair")] == [FIRST, SECOND]
    assert [result.key for result in swaps(attribute=Attribute.NOSE)] == [NOSE]
    assert [result.key for result in swaps(lender="bert")] == [FIRST, NOSE]
    assert [result.key for result in swaps(lender="bert")(attribute="hair")] == [FIRST]
    assert [result.key for result in swaps(target=ADA.recording, lender="carl")] == [SECOND]
    assert len(swaps(target="bert")) == 0, "she only lends"
    assert [result.key for result in swaps(name="ada, nose of bert")] == [NOSE]
    assert [result.key for result in library.tracks(name="bert.mp4")] == [BERT.recording]
    assert [result.key for result in library.tracks(name=CARL.recording[:16])] == [CARL.recording]
    allowed = swaps.where(lambda result: all("research" in person.consent for person in result.people))
    assert [result.key for result in allowed] == [FIRST, NOSE]
    assert swaps.people == (ADA, BERT, CARL)
    assert allowed.people == (ADA, BERT)
    assert "3 swaps" in repr(swaps) and str(shared) in repr(library)


def test_what_was_said_last_about_consent_goes(own: Path) -> None:
    Catalogue(Library(own)).say([Recording(recording=BERT.recording, name="berta", consent="withdrawn", time=1.0)])
    library = pegasus_ray.open(own)
    assert library.swaps[FIRST].consent == "ada: research; berta: withdrawn"
    assert {row["consent"] for row in library.tracks(name="berta").rows(["index"])} == {"berta: withdrawn"}


def test_results_are_loaded_whole(shared: Path) -> None:
    library = pegasus_ray.open(shared)
    test_tracks.assert_same(library.tracks.load("ada"), track_of(0))
    swap = library.swaps.load(FIRST[:16])
    assert list(swap.indices) == list(range(FRAMES)) and swap.attribute is Attribute.HAIR
    with pytest.raises(AssertionError):
        test_swaps.assert_same(swap, library.swaps.load(NOSE))
    assert isinstance(library.avatars.load("bert"), Avatar)
    assert isinstance(library.models.load("ada"), GenerativeAvatar)
    assert isinstance(library.transfers.load("hair of bert on ada"), Avatar)


def test_what_was_not_chosen_is_not_loaded(shared: Path) -> None:
    tracks = pegasus_ray.open(shared).tracks
    allowed = tracks.where(lambda result: all("research" in person.consent for person in result.people))
    assert allowed["ada"].key == allowed[ADA.recording].key == ADA.recording
    for reference in ("carl", CARL.recording, "carl.mp4"):
        assert tracks[reference].key == CARL.recording
        with pytest.raises(PegasusError, match="not among the tracks that were chosen"):
            allowed.load(reference)


def test_what_is_stale_is_left_out_unless_it_is_wanted(own: Path) -> None:
    make_stale(Library(own), Kind.SWAPS, SECOND)
    swaps = pegasus_ray.open(own).swaps
    assert [result.key for result in swaps] == [FIRST, NOSE]
    assert [row["result"] for row in swaps.rows(["index"])] == [FIRST] * FRAMES + [NOSE] * FRAMES
    everything = swaps(stale=True)
    assert [result.is_stale for result in everything] == [False, True, False]
    assert [result.key for result in everything(lender="carl")] == [SECOND]
    assert len(swaps(lender="carl")) == 0
    with pytest.raises(PegasusError) as caught:
        swaps(name=SECOND)
    assert refusal(caught)[0] is Reason.BAD_REFERENCE and "stale=True" in str(caught.value)
    assert len(swaps(name=SECOND, stale=True)) == 1


def test_what_was_made_smaller_is_left_out_once_the_finer_result_is_here(own: Path) -> None:
    coarse = Library(own)
    for key, finer in (("e" * 16, ADA.recording), ("f" * 16, "9" * 16)):
        coarse.commit(Kind.TRACKS, key, {"frames.parquet": b""}, Provenance(source=key, instead_of=finer))
    tracks = pegasus_ray.open(own).tracks
    assert [result.key for result in tracks][3:] == ["f" * 16]
    assert len(tracks(stale=True)) == 5


@pytest.mark.parametrize(
    ("choice", "hints"),
    [
        ({"name": "dora"}, ("dora", "ada", "bert")),
        ({"attribute": "beard"}, ("beard", "eyebrows")),
        ({"target": "dora"}, ("dora", "ada, bert, carl")),
        ({"lender": "dora"}, ("dora", "ada, bert, carl")),
    ],
)
def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(
    shared: Path, choice: dict[str, str], hints: tuple[str, ...]
) -> None:
    with pytest.raises(PegasusError) as caught:
        pegasus_ray.open(shared).swaps(**choice)
    reason, message = refusal(caught)
    assert reason is Reason.BAD_REFERENCE and all(hint in message for hint in hints), message


def test_a_name_that_fits_several_is_refused_with_them(own: Path) -> None:
    seen = {"source": "again.mp4", "seen": (ADA,)}
    Library(own).commit(Kind.AVATARS, "e" * 16, {"config.json": b"{}"}, Provenance(**seen))
    avatars = pegasus_ray.open(own).avatars
    assert len(avatars(name="ada")) == 2
    with pytest.raises(PegasusError) as caught:
        avatars.load("ada")
    assert "e" * 16 in str(caught.value)


def test_where_there_is_no_library_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(PegasusError) as caught:
        pegasus_ray.open(tmp_path / "nowhere")
    assert refusal(caught)[0] is Reason.BAD_LIBRARY and "build-db" in str(caught.value)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PegasusError, match=r"notes\.txt"):
        pegasus_ray.open(tmp_path)
    with pytest.raises(PegasusError):
        pegasus_ray.open("nosuchscheme://somewhere")


def test_an_empty_library_has_nothing(tmp_path: Path) -> None:
    Library(tmp_path).claim()
    library = pegasus_ray.open(tmp_path)
    assert [*library.tracks.rows(), *library.swaps.files(), *library.models] == []
    with pytest.raises(PegasusError, match="nothing"):
        library.avatars.load("ada")


def test_a_track_of_which_nothing_was_said_has_no_consent(tmp_path: Path) -> None:
    save_track(Library(tmp_path), "0" * 16, make_track(2, 4), Provenance())
    (row, _) = pegasus_ray.open(tmp_path).tracks.rows(["index"])
    assert row == {"index": 0, "result": "0" * 16, "consent": "ada: not recorded"}
