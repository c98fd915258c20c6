"""Results that are tables, a row a frame: as files for other readers, as rows, and as a stream for PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pegasus_ray.library.records.segments import READERS
from pegasus_ray.reader.results import Loaded, Result, Results
from pegasus_ray.reader.rows import Reading, Row, Source, choose_columns
from pegasus_ray.schemas.errors import PegasusError, Reason

if TYPE_CHECKING:  # torch takes seconds to import, and not everybody streams
    from pegasus_ray.reader.stream import RowStream


class Tables(Results[Loaded]):
    """Tracks or swaps.

    Columns are those of `schemas.tables`. In rows, pictures are arrays of 8 bits, (S, S, 3) RGB or (S, S); `depth` is (S, S) in
    metres, `landmarks` (478, 2) in sides of the picture; rig parameters and the camera are arrays of 32-bit floats; `scores` has
    a number for each score, NaN where it was not measured; text is text.

    Two columns are added: `result` is the key of the row's result, and `consent` says what each person in the picture has
    consented to. It is to be obeyed; see `Results.where`.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that come unless others are asked for: all that every result has.

        Besides, tracks may have `identity`, and those of the studio `depth` and `normals`; swaps may have `target_normals` and
        `source_normals`. Ask for these by name.
        """
        return choose_columns(self.kind, None)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """The frames one after another, with one file in memory at a time. Each file is held against its digest.

        Args:
            columns: to read and decode; see `columns` for what comes without it.

        Raises:
            PegasusError: BAD_REFERENCE at once for an unknown column; while reading, BAD_REFERENCE for a result without a column
                that was asked for, and CORRUPT, naming the file, for a file that is not what was written.
        """
        reading = self._reading(columns)
        return reading.rows(reading.files())

    def stream(
        self,
        columns: Sequence[str] | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> RowStream:
        """The same rows as a PyTorch dataset of tensors, for a `DataLoader` with any number of workers.

        Args:
            columns: as for `rows`.
            shuffle: mix the order of the files, and of the rows within each file.
            seed: of the order; `RowStream.set_epoch` changes it from epoch to epoch.
            rank: of this process, where several train together; each takes every `ranks`-th file.
            ranks: how many processes train together.

        Raises:
            PegasusError: as `rows`.
        """
        from pegasus_ray.reader.stream import RowStream

        return RowStream(self._reading(columns), shuffle=shuffle, seed=seed, rank=rank, ranks=ranks)

    def files(self) -> list[str]:
        """The Parquet files of these results, as local paths or URLs, for any reader of Parquet.

        The files are there and have the size that was written. Their content is not read, so that the first row of a large
        library comes soon. Other readers do not check it either: `pegasus verify` does, and `rows` and `stream` do for each file
        that they read. Nor do other readers see anybody's consent: `Result.consent` and `people` say it.

        Example: datasets.load_dataset("parquet", data_files=library.swaps.files(), streaming=True)

        Raises:
            PegasusError: CORRUPT for a result that is not whole.
        """
        with ThreadPoolExecutor(READERS) as readers:
            return [path for paths in readers.map(self._files_of, self) for path in paths]

    def to_datasets(self, columns: Sequence[str] | None = None, *, streaming: bool = True) -> Any:
        """The same files as a data set of the package `datasets`, in which pictures are pictures. See `files` for what it checks.

        Args:
            columns: as for `rows`, but without `result` and `consent`.
            streaming: without it, all rows are copied to that package's cache. Such a copy does not learn of a consent that is
                withdrawn.

        Raises:
            PegasusError: ASSET_MISSING without the package; BAD_REFERENCE for an unknown column, or where there is no result.
        """
        chosen = list(choose_columns(self.kind, columns))
        try:
            import datasets
        except ImportError as error:
            message = "the package is not installed: `pip install datasets`; or use .rows() or .stream()"
            raise PegasusError(Reason.ASSET_MISSING, message, subject="datasets") from error
        files = self.files()
        if not files:
            raise PegasusError(
                Reason.BAD_REFERENCE, "there is nothing to read; choose other results", subject=repr(self)
            )
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=streaming, columns=chosen)

    def _reading(self, columns: Sequence[str] | None) -> Reading:
        return Reading(
            location=self._catalogue.library.location,
            kind=self.kind,
            columns=choose_columns(self.kind, columns),
            sources=tuple(Source(result.key, result.files, result.consent) for result in self),
        )

    def _files_of(self, result: Result) -> list[str]:
        """The paths or URLs of a result's files."""
        library, subject = self._catalogue.library, f"{result.kind}/{result.key}"
        manifest = library.manifest(result.kind, result.key)
        if manifest is None or any(PurePosixPath(file.path).name != file.path for file in manifest.files):
            message = "it is not whole; `pegasus verify` says more, and running its stage again makes it anew"
            raise PegasusError(Reason.CORRUPT, message, subject=subject)
        paths = [f"{subject}/{file.path}" for file in manifest.files]
        return [str(library.storage.local(path) or f"{library.location}/{path}") for path in paths]
