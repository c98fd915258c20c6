"""What `pegasus_ray.open` gives: the results of a library, to be looked at, read and streamed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_ray.library.library import Library
from pegasus_ray.library.mark import expect_ours, read_mark
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.swaps import Swap, load_swap
from pegasus_ray.library.track import Track
from pegasus_ray.library.tracks import load_track
from pegasus_ray.reader.results import Results
from pegasus_ray.reader.tables import Tables
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind

if TYPE_CHECKING:  # torch takes seconds to import, and the frames do not need it
    from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
    from pegasus_ray.avatar.points.avatar import Avatar


class Reader:
    """A library, opened for reading: its results by kind, as they were when each kind was first asked for.

    Faces are personal data. What each person who can be seen has consented to comes with every result (`Result.people`) and every
    row (`consent`), as it was said last, and is to be obeyed: `Results.where` leaves out what it does not allow.
    """

    def __init__(self, location: str | Path) -> None:
        """Open a library. Errors as `pegasus_ray.open`."""
        library = Library(location)
        if read_mark(library.storage) is None:
            expect_ours(library.storage)
            message = "there is no library; check the address, or make one: `pegasus build-db VIDEO --library FOLDER`"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=library.location)
        self._catalogue = Catalogue(library)

    def __repr__(self) -> str:
        return f"<library {self.location}>"

    @property
    def location(self) -> str:
        """The folder or URL."""
        return self._catalogue.library.location

    @cached_property
    def tracks(self) -> Tables[Track]:
        """Videos after perception: frames with mattes, parts, landmarks and rig parameters."""
        return Tables(self._catalogue, Kind.TRACKS, load_track)

    @cached_property
    def swaps(self) -> Tables[Swap]:
        """Frames of a target with one attribute borrowed from a lender."""
        return Tables(self._catalogue, Kind.SWAPS, load_swap)

    @cached_property
    def avatars(self) -> Results[Avatar]:
        """Animatable people."""
        return Results(self._catalogue, Kind.AVATARS, _load_avatar)

    @cached_property
    def models(self) -> Results[GenerativeAvatar]:
        """Generative avatars: people over codes, one for each attribute."""
        return Results(self._catalogue, Kind.MODELS, _load_model)

    @cached_property
    def transfers(self) -> Results[Avatar]:
        """Avatars of people who wear borrowed attributes."""
        return Results(self._catalogue, Kind.TRANSFERS, _load_transfer)


def _load_avatar(library: Library, key: str) -> Avatar:
    from pegasus_ray.jobs.results import read_avatar

    return read_avatar(library, key)


def _load_transfer(library: Library, key: str) -> Avatar:
    from pegasus_ray.jobs.results import read_avatar

    return read_avatar(library, key, Kind.TRANSFERS)


def _load_model(library: Library, key: str) -> GenerativeAvatar:
    from pegasus_ray.jobs.results import read_generative

    return read_generative(library, key)
