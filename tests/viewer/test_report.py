"""Invariants of the report: it needs no other file, every text is escaped, results that cannot be read are named."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import record
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, InputEntry, Kind, PlannedItem, Provenance, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute, Label
from pegasus_ray.viewer.cards import Card
from pegasus_ray.viewer.pictures import (
    MAX_SIDE_PIXELS,
    close_up_windows,
    colour_parts,
    embed,
    enlarge,
    part_legend,
    tint_mask,
)
from pegasus_ray.viewer.report import WAYS_OUT, Page, Section, page_of, render_page, write_report
from tests.painted import painted_track

NASTY = "<script>alert('x')</script>\"&"


class Reader(HTMLParser):
    """The tags, addresses and words that a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "lib")
    shown = SeenPerson(recording="a" * 16, name=NASTY, consent=NASTY)
    save_track(library, "a" * 16, painted_track(0, 48, 8), Provenance(source=NASTY, seen=(shown,)))
    preview = {"preview.png": encode_png(np.full((48, 48, 3), 90, np.uint8))}
    facts = Provenance(
        source="anna",
        seen=(SeenPerson(recording="b" * 16, name="anna"),),
        inputs=(InputEntry(name="track", key="a" * 16),),
        attributes=(Attribute.HAIR,),
    )
    library.commit(
        Kind.AVATARS, "b" * 16, preview, facts.model_copy(update={"summary": {"points": 12000, "loss": 0.125}})
    )
    item = PlannedItem(stage=Stage.TRACK, key="c" * 16, subject=f"{NASTY}.mp4")
    record(library, item, EventKind.FAILED, reason=Reason.NOT_A_VIDEO, message=NASTY)
    return library


def test_the_page_needs_nothing_outside_itself(library: Library, tmp_path: Path) -> None:
    told: list[float] = []
    path = write_report(
        Catalogue(library), tmp_path / "deep" / "report.html", progress=lambda share, text: told.append(share)
    )
    found = Reader(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert found.tags.count("img") == 2
    assert found.addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in found.addresses)
    assert not re.search(r"url\(|@import|https?://", path.read_text(encoding="utf-8"))
    assert told == sorted(told)
    assert len(told) == 2


def test_texts_are_shown_and_never_obeyed(library: Library) -> None:
    text = render_page(page_of(Catalogue(library)))
    found = Reader(text)
    assert "script" not in found.tags
    assert found.words.count(NASTY) >= 5  # title of the track, source, consent, failed input, message


@given(st.text(max_size=40))
def test_any_text_survives_escaping(text: str) -> None:
    card = Card(title=text, key=text, line=text, chips=(text,), figures={text: text}, problem=text)
    section = Section(name="tracks", title=text, about=text, cards=(card,), total=2)
    page = Page(
        title=text,
        made=text,
        headline=((text, text, text),),
        sections=(section,),
        swaps=((text,), (text,)),
        failures=(),
        failed=0,
        results=(),
        results_in_all=9,
    )
    found = Reader(render_page(page))
    assert set(found.tags) <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "div", "h1", "b", "span", "nav", "a", "section", "h2",
        "p", "article", "h3", "ul", "li", "i", "footer",
    }  # fmt: skip


def test_results_failures_and_ways_out_are_named(library: Library) -> None:
    words = Reader(render_page(page_of(Catalogue(library)))).words
    for word in ("a" * 16, "b" * 16, "anna", "hair", "12,000", "0.125", "not a video", "8 frames of 48²"):
        assert word in words
    assert WAYS_OUT[Reason.NOT_A_VIDEO] in words
    assert set(WAYS_OUT) == set(Reason)


def test_what_cannot_be_drawn_says_so_and_shows_its_preview(library: Library) -> None:
    card = next(
        card for section in page_of(Catalogue(library)).sections for card in section.cards if card.title == "anna"
    )
    assert "cannot be drawn" in card.problem
    assert len(card.pictures) == 1


def test_an_empty_library_is_a_page_too(tmp_path: Path) -> None:
    assert "Nothing is here yet" in Reader(render_page(page_of(Catalogue(Library(tmp_path / "none"))))).words


def test_a_page_that_cannot_be_written_is_named(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PegasusError) as caught:
        write_report(Catalogue(library), tmp_path / "file" / "report.html")
    assert caught.value.reason is Reason.BAD_CONFIG


def test_pictures_keep_their_looks_and_large_ones_shrink() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = (200, 40, 10)
    made = embed(image)
    data = np.frombuffer(base64.b64decode(made.uri.partition(",")[2]), np.uint8)
    read = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    assert (made.width, made.height) == (60, 40)
    assert np.abs(read[20, 10].astype(int) - (200, 40, 10)).max() < 12
    wide = embed(np.zeros((100, 2 * MAX_SIDE_PIXELS, 3), np.uint8))
    assert (wide.width, wide.height) == (MAX_SIDE_PIXELS, 50)


def test_every_label_has_a_colour_and_a_name() -> None:
    labels = np.array([[int(label) for label in Label]], np.uint8)
    assert colour_parts(labels).shape == (1, len(Label), 3)
    assert [name for name, _ in part_legend()].count("eye") == 1
    assert colour_parts(np.array([[255]], np.uint8)).shape == (1, 1, 3)


def test_close_ups_follow_what_is_small_and_leave_what_is_large() -> None:
    masks = np.zeros((3, 100, 100), bool)
    masks[0, 10:20, 10:16] = True
    masks[2, 60:64, 95:100] = True  # at the border; the second frame shows nothing
    windows = close_up_windows(masks)
    sides = {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows}
    assert sides == {(20, 20)}
    assert all(masks[frame][window].sum() == masks[frame].sum() for frame, window in enumerate(windows))
    assert windows[1] == windows[0]
    assert enlarge(np.zeros((100, 100, 3), np.uint8), windows[2]).shape == (100, 100, 3)
    masks[1, :70] = True
    assert set(map(str, close_up_windows(masks))) == {str((slice(0, 100), slice(0, 100)))}
    assert close_up_windows(np.zeros((2, 8, 8), bool)) == [(slice(0, 8), slice(0, 8))] * 2


def test_masks_are_tinted_from_paper_to_one_colour() -> None:
    paper, half, full = tint_mask(np.array([[0, 128, 255]], np.uint8))[0].astype(int)
    assert paper.min() > 240
    assert (full < half).all()
    assert (half < paper).all()
