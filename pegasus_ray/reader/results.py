"""Results of one kind, for choosing among them: by name, by attribute, by whom they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Generic, Self, TypeVar

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, ResultEntry, SeenPerson
from pegasus_ray.schemas.parts import Attribute

Loaded = TypeVar("Loaded", covariant=True)

NAMES_SHOWN: Final = 12
"""Names in the message about one that nobody has."""
NOT_RECORDED: Final = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result, and everybody who can be seen in it.

    The consent of each of its people is to be obeyed by whoever uses it. What is not recorded was not given.
    """

    kind: Kind
    key: str
    name: str  # the person's, or what was recombined
    people: tuple[SeenPerson, ...]  # the one whose head it is first, then those who lend something
    attributes: tuple[Attribute, ...]  # those that it lends or shows borrowed
    source: str  # name of the video, or what was recombined
    summary: Mapping[str, float | int | str]  # figures of its making: frames, scores
    files: int  # how many it has
    size: int  # bytes of them all
    is_stale: bool  # an earlier version of its stage made it, or it was made smaller and the finer one is here too

    @property
    def consent(self) -> str:
        """The consent of each of its people, in one line."""
        said = (f"{person.name or person.recording}: {person.consent or NOT_RECORDED}" for person in self.people)
        return "; ".join(said) or NOT_RECORDED


class Results(Generic[Loaded]):
    """Results of one kind in order of their keys, as they were when the library was opened.

    Calling it with what is wanted gives the results that fit, as the same kind of thing:

        library.swaps(attribute="hair", target="anna")
    """

    def __init__(self, catalogue: Catalogue, kind: Kind, load: Callable[[Library, str], Loaded]) -> None:
        """All results of a kind in a catalogue, and how to read one of them by its key."""
        self.kind = kind
        self._catalogue = catalogue
        self._load = load
        self._all = tuple(_result(catalogue, entry) for entry in catalogue.entries(kind))
        self._stale = False

    def __call__(
        self,
        *,
        name: str | None = None,
        attribute: str | None = None,
        target: str | None = None,
        lender: str | None = None,
        stale: bool | None = None,
    ) -> Self:
        """Those of the results that fit everything that is said.

        Args:
            name: of the person, or of the video with or without suffix, or a key.
            attribute: that they lend or show borrowed.
            target: whose head it is: the person's name, or the key of their track.
            lender: who lends something in them, likewise.
            stale: also those that an earlier version made, and those made smaller where the finer one is here.

        Raises:
            PegasusError: BAD_REFERENCE for a name that nobody has, or an attribute that does not exist; the message names
                what there is. That nothing fits all of it at once is no error.
        """
        chosen: Iterable[Result] = self._all
        with_stale = self._stale if stale is None else stale
        if name is not None:
            chosen = self._named(name, with_stale)
        if attribute is not None:
            wanted = _attribute(attribute)
            chosen = [result for result in chosen if wanted in result.attributes]
        if target is not None:
            self._expect_person(target)
            chosen = [result for result in chosen if _shows(result.people[:1], target)]
        if lender is not None:
            self._expect_person(lender)
            chosen = [result for result in chosen if _shows(result.people[1:], lender)]
        return self._with(chosen, with_stale)

    def where(self, keep: Callable[[Result], bool]) -> Self:
        """Those of the results for which a function says so: that is how to obey what people consented to.

        Example: library.tracks.where(lambda result: all("research" in person.consent for person in result.people))
        """
        return self._with([result for result in self if keep(result)], self._stale)

    def __iter__(self) -> Iterator[Result]:
        return (result for result in self._all if self._stale or not result.is_stale)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind} of {self._catalogue.library.location}>"

    def __getitem__(self, reference: str) -> Result:
        """The one of the results that a key, the beginning of one, or a name refers to; errors as `load`."""
        named = [result for result in self if _goes_by(result, reference)]
        if len(named) == 1:
            return named[0]
        key = self._catalogue.find(reference, self.kind).key  # the preferred one, or an error that says what there is
        if not (found := [result for result in self._all if result.key == key]):
            message = f"is not among the {self.kind} that were chosen; choose others, unless consent forbids it"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=reference)
        return found[0]

    @property
    def people(self) -> tuple[SeenPerson, ...]:
        """Everybody who can be seen in these results, each once, with their consent."""
        return tuple({person.recording: person for result in self for person in result.people}.values())

    def load(self, reference: str) -> Loaded:
        """Read one of the results whole.

        Args:
            reference: its key, the beginning of one, or its name. As for the commands, what an earlier version of its stage made
                counts where there is no other.

        Raises:
            PegasusError: BAD_REFERENCE if no result or more than one fits, with candidates, or it was not chosen; CORRUPT if its
                content is not what was written.
        """
        return self._load(self._catalogue.library, self[reference].key)

    def _with(self, chosen: Iterable[Result], stale: bool) -> Self:
        some = object.__new__(type(self))
        some.__dict__.update(self.__dict__, _all=tuple(chosen), _stale=stale)
        return some

    def _named(self, name: str, stale: bool) -> list[Result]:
        """All results that go by a name; one at least."""
        named = [result for result in self._all if _goes_by(result, name)]
        if not named:
            key = self._catalogue.find(name, self.kind).key  # which says what there is
            named = [result for result in self._all if result.key == key]
        if named and not stale and all(result.is_stale for result in named):
            message = "only an earlier version made this; take it with stale=True, or run its stage again"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
        return named

    def _expect_person(self, name: str) -> None:
        """Refuse a person who is not seen in any of the results."""
        if any(_shows(result.people, name) for result in self._all):
            return
        names = sorted({person.name or person.recording for result in self._all for person in result.people})
        there = _in_short(names) or "nobody by name"
        raise PegasusError(Reason.BAD_REFERENCE, f"is not seen in these {self.kind}; there is {there}", subject=name)


def _result(catalogue: Catalogue, entry: ResultEntry) -> Result:
    finer = catalogue.get(entry.kind, entry.instead_of) if entry.instead_of else None
    return Result(
        kind=entry.kind,
        key=entry.key,
        name=catalogue.name(entry),
        people=catalogue.people(entry),
        attributes=catalogue.lends(entry),
        source=entry.source,
        summary=entry.summary,
        files=entry.files,
        size=entry.size,
        is_stale=entry.is_stale or finer is not None,
    )


def _attribute(name: Any) -> Attribute:
    if name not in tuple(Attribute):
        message = f"is no attribute; there are {', '.join(Attribute)}"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=str(name))
    return Attribute(name)


def _goes_by(result: Result, name: str) -> bool:
    return name in (result.key, result.name, result.source, PurePosixPath(result.source).stem)


def _shows(people: Iterable[SeenPerson], name: str) -> bool:
    return any(name in (person.name, person.recording) for person in people)


def _in_short(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
