"""A neural network in a .tflite file, run by LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter


class LiteRtNet:
    """A network with one input and any number of outputs.

    Args:
        content: the .tflite file's bytes.
        threads: how many threads it may use.
    """

    def __init__(self, content: bytes, *, threads: int = 2) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [int(detail["index"]) for detail in self._interpreter.get_output_details()]

    def __call__(self, values: npt.NDArray[np.floating[Any]]) -> list[npt.NDArray[np.float32]]:
        """The outputs for one input: `values` has the input's shape without the batch axis."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(values[None], dtype=np.float32))
        self._interpreter.invoke()
        return [np.asarray(self._interpreter.get_tensor(index)) for index in self._outputs]
