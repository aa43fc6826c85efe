"""Temporary folders that the next process clears when theirs was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cosweep.errors import CosweepError

_PREFIX = "cosweep-run-"
_ROOM_MEGABYTES = 50
"""Ray's sockets and logs take 1 to 10; without room it does not say what it lacks."""


@contextmanager
def scratch_folder(parent: str | None = None) -> Iterator[str]:
    """Context with a folder of mode 0700 that goes with it; folders that killed processes left beside it go first.

    A folder is its process's while that holds the kernel's lock on it, which a process loses however it ends.

    Args:
        parent: Where; None is the system's folder for temporary files.

    Raises:
        CosweepError: If there is no room for one.
    """
    place = Path(parent or tempfile.gettempdir())
    _clear(place)
    if (free := shutil.disk_usage(place).free / 1e6) < _ROOM_MEGABYTES:
        raise CosweepError(
            f"{place}, where temporary files go, has {free:.0f} MB free; make room for {_ROOM_MEGABYTES}"
        )
    folder, lock = _owned(place)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _owned(place: Path) -> tuple[Path, int | None]:
    """A new folder, and the file number that holds its lock; None where folders cannot be locked, or seem foreign."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        except OSError as error:
            raise CosweepError(f"no temporary folder can be made in {place} ({error.strerror}); make room") from error
        lock = _opened(folder)
        if lock is not None:
            with suppress(OSError):  # without locks on this file system nobody clears it
                fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        if lock is not None:  # cleared by another process, before it had its lock
            os.close(lock)


def _clear(place: Path) -> None:
    """Remove folders of this user that no process owns."""
    for folder in place.glob(f"{_PREFIX}*"):
        lock = _opened(folder)
        if lock is None:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a living process has it
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _opened(folder: Path) -> int | None:
    """Number of a folder of this user; None if it is gone, no folder, or somebody else's."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    if os.fstat(number).st_uid == os.getuid():
        return number
    os.close(number)
    return None
