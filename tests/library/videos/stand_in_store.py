"""A store that fsspec reaches and that is not S3: what Google's client tells of objects, over a few bytes in this process."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any, ClassVar

from fsspec.spec import AbstractFileSystem


class StandInStore(AbstractFileSystem):
    """Objects by path, `bucket/key`."""

    protocol = "gs"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    tag: ClassVar[str] = "md5Hash"  # what it tells of an object's content; empty: nothing

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What lies directly in a folder."""
        start = self._strip_protocol(path).rstrip("/") + "/"
        below = [name.removeprefix(start) for name in self.objects if name.startswith(start)]
        if not below:
            raise FileNotFoundError(path)
        found = [
            {"name": start + name.partition("/")[0], "type": "directory", "size": 0}
            if "/" in name
            else self._object(start + name)
            for name in below
        ]
        return found if detail else [item["name"] for item in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """An object, or a folder."""
        path = self._strip_protocol(path)
        if path in self.objects:
            return self._object(path)
        self.ls(path)
        return {"name": path, "type": "directory", "size": 0}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        return io.BytesIO(self.objects[self._strip_protocol(path)])

    def _object(self, path: str) -> dict[str, Any]:
        content = self.objects[path]
        tag = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {"name": path, "type": "file", "size": len(content), **({self.tag: tag} if self.tag else {})}
