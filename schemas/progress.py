"""The type of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called now and then with the share of the work that is done, 0–1, and a short text on what is being done."""
