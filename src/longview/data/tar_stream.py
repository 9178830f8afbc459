"""Reading a tar archive from front to back and noticing when its end is missing."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path
from typing import IO, cast

__all__ = ["TarContent", "decompressed"]


class TarContent(io.RawIOBase):
    """Decompressed bytes of an archive, with a check of its end: tarfile takes a header that is cut off for the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._tail = b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._tail = (self._tail + data)[-tarfile.BLOCKSIZE :]
        return data

    def finish(self) -> None:
        """Read what is left; raises if the compressed stream or the tar archive lacks its end."""
        while self.read(1 << 16):
            pass
        if self._tail != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end-of-archive block")

    def close(self) -> None:
        self._stream.close()
        super().close()


def decompressed(path: Path) -> TarContent:
    """Opens a plain, gzip or xz file by its first bytes."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return TarContent(cast("IO[bytes]", gzip.open(path)))
    if magic == b"\xfd7zXZ\0":
        return TarContent(cast("IO[bytes]", lzma.open(path)))
    return TarContent(path.open("rb"))
