"""Rows of a library as a PyTorch dataset: tensors, file by file, each row exactly once however many workers read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pegasus_ray.reader.rows import Reading, Row
from pegasus_ray.schemas.errors import PegasusError, Reason


class RowStream(IterableDataset[Row]):
    """Rows as tensors: pictures uint8 (S, S, 3) or (S, S), parameters float32; text stays text. See `Tables.stream`.

    Files are dealt out among the processes that train together and the workers of each `DataLoader`, and each of these holds one
    file at a time. PyTorch makes a batch of rows whose tensors have the same shapes: choose results whose pictures have one size
    and whose rig is the same, or leave out the columns that differ.
    """

    def __init__(
        self, reading: Reading, *, shuffle: bool = False, seed: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        """See `Tables.stream`. Raises PegasusError BAD_CONFIG for a rank that there is not."""
        if not 0 <= rank < ranks:
            message = f"there is no process {rank} of {ranks}; they are counted from 0"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="rank")
        self.reading = reading
        self.shuffle, self.seed, self.rank, self.ranks = shuffle, seed, rank, ranks
        # In memory that workers share, so that those that live on from epoch to epoch see it change.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Give the next pass over the rows another order, if they are shuffled. Call it before each."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        files, epoch = self.reading.files(), int(self._epoch)
        places = np.arange(len(files))
        if self.shuffle:
            places = np.random.default_rng((self.seed, epoch)).permutation(places)
        mine = [int(place) for place in places[self.rank :: self.ranks][first::step]]

        def order(number: int) -> np.random.Generator:
            """The same for a file whoever reads it."""
            return np.random.default_rng((self.seed, epoch, mine[number]))

        try:
            for row in self.reading.rows([files[place] for place in mine], order if self.shuffle else None):
                yield {name: _tensor(value) for name, value in row.items()}
        except PegasusError as error:
            if worker is None:
                raise
            raise ErrorInWorker(f"{error.reason}: {error}") from None


class ErrorInWorker(PegasusError):
    """A `PegasusError` of a worker. PyTorch makes it anew in the main process, from the end of a text that shows it.

    Args:
        text: ends in the reason, a colon, and the message.
    """

    def __init__(self, text: str) -> None:
        reason, _, message = text.rpartition(f"{type(self).__name__}: ")[2].strip().partition(": ")
        super().__init__(Reason(reason), message)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def _tensor(value: Any) -> Any:
    """Arrays and numbers as tensors, also in a group of them; text as it is."""
    if isinstance(value, dict):
        return {name: _tensor(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return torch.tensor(value) if isinstance(value, np.generic) else value
