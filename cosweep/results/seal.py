"""A checksum of a whole Parquet file, kept inside it.

Parquet's own checksums cover pages and leave out the footer, where one flipped bit renames a column, whose values are
then missing without a word. The seal stands between the last page and the footer. Parquet gives these bytes no
meaning, so other readers read a sealed file as any other.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

import pyarrow as pa

SEALED_KEY = b"cosweep_sealed"
"""Key in a file's metadata that says that it has a seal."""

_MAGIC = b"cosweep seal 1\0\0"
_DIGEST = hashlib.sha256().digest_size
_SEAL = len(_MAGIC) + 2 * _DIGEST
_ENDING = 8  # the length of the footer, and Parquet's mark
_TAIL = 64 << 10  # at once, since each read of an object store is a request
_AT_ONCE = 16 << 20


class SealError(ValueError):
    """A file that is not as it was sealed."""


def seal(file: BinaryIO) -> None:
    """Put the seal into a whole Parquet file that is open for reading and writing."""
    size = file.seek(-_ENDING, 2) + _ENDING
    start = size - _ENDING - int.from_bytes(file.read(4), "little")
    digest = hashlib.sha256()
    file.seek(0)
    for place in range(0, start, _AT_ONCE):
        digest.update(file.read(min(_AT_ONCE, start - place)))
    footer = file.read()
    file.seek(start)
    file.write(_MAGIC + digest.digest() + hashlib.sha256(footer).digest() + footer)


def check_seal(source: pa.NativeFile, *, whole: bool) -> bool:
    """Hold a file against its seal; says whether it has one.

    Args:
        source: The file.
        whole: Whether to read all of it; the footer alone otherwise.

    Raises:
        SealError: If it is not as it was sealed.
    """
    size = source.size()
    tail = source.read_at(min(size, _TAIL), max(size - _TAIL, 0))
    length = _SEAL + int.from_bytes(tail[-_ENDING:-4], "little") + _ENDING
    if length > size:
        return False
    if length > len(tail):
        tail = source.read_at(length, size - length)
    sealed, footer = tail[-length:][:_SEAL], tail[-length:][_SEAL:]
    if not sealed.startswith(_MAGIC):
        return False
    if hashlib.sha256(footer).digest() != sealed[-_DIGEST:]:
        raise SealError("its footer is damaged: it does not fit its checksum")
    if whole:
        digest = hashlib.sha256()
        for place in range(0, size - length, _AT_ONCE):
            digest.update(source.read_at(min(_AT_ONCE, size - length - place), place))
        if digest.digest() != sealed[len(_MAGIC) : -_DIGEST]:
            raise SealError("it is damaged: it does not fit its checksum")
    return True
