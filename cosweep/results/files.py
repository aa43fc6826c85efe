"""Files of a store, each written whole or not at all: what a location can do, and folders as locations."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from cosweep.errors import CosweepError

MOST_BYTES = 16 << 30
"""Of a file that is read whole; a file without data on the disk can claim any size."""
_REST_SECONDS = 86400.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Stamp(NamedTuple):
    """What tells one version of a file from the next: size in bytes, time of change in ns, number of the file."""

    size: int
    changed: int
    inode: int = 0


class OddFileError(OSError):
    """What stands in the place of a file is none, or is too large to be one of its kind."""


class BusyError(CosweepError):
    """Another process does what one at a time may do."""


class NoLocksError(CosweepError):
    """A file system on which processes cannot keep each other out."""


class Files(ABC):
    """Files below one location. Paths are relative to it, with ``/``; hidden files are left out.

    Args:
        address: The location, as the user wrote it.
        root: The same, as paths begin in messages.
    """

    def __init__(self, address: str, root: str) -> None:
        self.address, self.root = address, root

    def shown(self, path: str) -> str:
        """The whole path, for messages."""
        return f"{self.root}/{path}"

    def unreachable(self, error: Exception) -> CosweepError:
        """What to tell the user when the location itself gives trouble."""
        return CosweepError(f"results location {self.address}: {error}")

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything."""

    @abstractmethod
    def names(self, folder: str) -> dict[str, Stamp]:
        """Names of the files in a folder, sorted, with their versions; none if it does not exist.

        A link to a file counts as one, since tools that keep large files elsewhere leave links in their place.

        Raises:
            CosweepError: If something else than a folder stands there.
        """

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted; none if it does not exist.

        Raises:
            CosweepError: If something else than a folder stands there.
        """

    @abstractmethod
    def odd(self, folder: str) -> dict[str, str]:
        """Names of what is no file in a folder, sorted, and what it is."""

    @abstractmethod
    def stamp(self, path: str) -> Stamp | None:
        """Version of what stands in the place of a file; None if nothing does."""

    @abstractmethod
    def open(self, path: str) -> pa.NativeFile:
        """A file for reading at any place.

        Raises:
            FileNotFoundError: If there is none.
            OddFileError: If something else stands there.
        """

    @abstractmethod
    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        """The whole file.

        Raises:
            FileNotFoundError: If there is none.
            OddFileError: If something else stands there, or it is larger than ``most`` bytes.
        """

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file.

        Raises:
            OSError: If it cannot be written; an old one is as it was.
        """

    @abstractmethod
    def replacing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Context with a binary file to fill; without an exception in it, that becomes ``path``, safe on the disk."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def exclusive(self, name: str, seconds: float, *, wait: bool = False) -> AbstractContextManager[Callable[[], None]]:
        """Context of which one process at a time is in, with a function that raises if it no longer is.

        Args:
            name: What is done in it; part of file names.
            seconds: Where only signs of life can be left: after how long without one, by that function, a process
                is taken for dead.
            wait: Whether to wait so long, and see whether a process lives that has left one.

        Raises:
            BusyError: If another process is in it.
            NoLocksError: If the file system has no locks.
            CosweepError: If the lock's file cannot be made.
        """


class LocalFiles(Files):
    """Files below a folder."""

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__(address, str(folder))
        self.folder = folder

    def exists(self) -> bool:
        return self.folder.is_dir()

    def names(self, folder: str) -> dict[str, Stamp]:
        found = {}
        for entry in self._entries(folder):
            with suppress(OSError):  # removed since it was listed, or a link that leads nowhere, which is odd
                if entry.is_file():
                    found[entry.name] = _stamp(entry.stat())
        return dict(sorted(found.items()))

    def folders(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in self._entries(folder) if _is_folder(entry))

    def odd(self, folder: str) -> dict[str, str]:
        found = {}
        for entry in self._entries(folder):
            if not entry.is_file(follow_symlinks=False) and (oddity := _oddity(entry.path)):
                found[entry.name] = oddity
        return dict(sorted(found.items()))

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        whole = self.folder / folder
        try:
            with os.scandir(whole) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            for place in (whole, *whole.parents):
                if os.path.lexists(place):
                    break
            if place.is_dir():
                return []
            kind = _oddity(place) or "is a file"
            raise CosweepError(f"{place} {kind}, where results have a folder; move it away") from None
        except OSError as error:
            raise self.unreachable(error) from error

    def stamp(self, path: str) -> Stamp | None:
        whole = self.folder / path
        try:
            return _stamp(os.stat(whole))
        except OSError as error:
            if os.path.islink(whole):
                return _stamp(os.lstat(whole))
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                return None
            raise self.unreachable(error) from error

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(str(self._file(path)))

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        with self._file(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise OddFileError(f"is larger than {most:,} bytes")
            return file.read(size)

    def _file(self, path: str) -> Path:
        """Where a file is. Nothing else may be opened: a pipe makes one wait, and a device has no end."""
        whole = self.folder / path
        if oddity := _oddity(whole):
            raise OddFileError(oddity)
        return whole

    def write(self, path: str, content: bytes) -> None:
        with self._aside(path) as (aside, target):
            aside.write_bytes(content)
            os.replace(aside, target)

    @contextmanager
    def replacing(self, path: str) -> Iterator[BinaryIO]:
        with self._aside(path) as (aside, target):
            _remove_rests(target)
            with aside.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _aside(self, path: str) -> Iterator[tuple[Path, Path]]:
        target = self._inside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            yield aside, target
        finally:
            aside.unlink(missing_ok=True)

    def _inside(self, path: str) -> Path:
        """Where to write a file, which no link below the folder leads out of it."""
        target = self.folder / path
        if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(self.folder)):
            raise CosweepError(
                f"{target.parent} is a link out of the results folder {self.folder}, so nothing is written there; "
                "replace it by a folder, or set results.root to where the results are to be"
            )
        return target

    def delete(self, path: str) -> None:
        self._inside(path).unlink(missing_ok=True)

    @contextmanager
    def exclusive(self, name: str, seconds: float, *, wait: bool = False) -> Iterator[Callable[[], None]]:
        import fcntl

        # The kernel lets go of the lock when its process ends, however it does; so the file can stay.
        path = self.folder / f".{slug(name)}.lock"
        with ExitStack() as stack:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
                file = stack.enter_context(os.fdopen(descriptor, "a+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            except BlockingIOError:
                file.seek(0)
                raise BusyError(f"another {name} works on {self.address}: {file.read() or 'its owner'}") from None
            except OSError as error:
                kind = NoLocksError if error.errno in _NO_LOCKS else CosweepError
                raise kind(f"{path} cannot be locked ({error})") from error
            yield lambda: None


def slug(name: str) -> str:
    """A name as part of a path."""
    return name.replace(" ", "-")


_ODD_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def _oddity(path: str | Path) -> str:
    """What stands in the place of a file; empty if it is a file, a link to one or nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which leads to no file"
        return "" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else f"cannot be looked at: {error}"
    linked = " by a link" if os.path.islink(path) else ""
    return next((f"{kind}{linked}, no file" for is_kind, kind in _ODD_KINDS if is_kind(mode)), "")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _remove_rests(target: Path) -> None:
    """Remove what processes that were killed left beside a file, which may be as large as it."""
    for rest in target.parent.glob(f".{target.name}.*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - rest.stat().st_mtime > _REST_SECONDS:
                rest.unlink()
