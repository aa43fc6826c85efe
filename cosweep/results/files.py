"""Files of a store, on a file system or an object store: each is written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from cosweep.errors import CosweepError

LOCK_SECONDS = 600.0
"""After this long a lock in an object store is taken for that of a process that was killed."""
_PROBE = {"connect_timeout": 5.0, "request_timeout": 10.0}


class Stamp(NamedTuple):
    """What tells one version of a file from the next: size in bytes, time of change in ns, number of the file."""

    size: int
    changed: int
    inode: int = 0


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
        """Names of the files in a folder, sorted, with their versions; none if it does not exist."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted; none if it does not exist."""

    @abstractmethod
    def stamp(self, path: str) -> Stamp | None:
        """Version of a file; None without it."""

    @abstractmethod
    def open(self, path: str) -> pa.NativeFile:
        """A file for reading at any place.

        Raises:
            FileNotFoundError: If there is none.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole file.

        Raises:
            FileNotFoundError: If there is none.
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
    def exclusive(self) -> AbstractContextManager[Callable[[], None]]:
        """Context of which one process at a time is in, with a function that raises if it no longer is.

        Raises:
            CosweepError: If another process is in it, or there are no locks.
        """


def files_at(location: str | Path) -> Files:
    """Files below a folder, or an ``s3://`` or ``gs://`` address.

    Raises:
        CosweepError: If the address cannot be understood or reached.
    """
    address = str(location)
    if "://" not in address:
        return LocalFiles(address, Path(address).expanduser().absolute())
    try:
        fs, root = pafs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CosweepError(f"results location {address}: {error}") from error
    return LocalFiles(address, Path(root)) if isinstance(fs, pafs.LocalFileSystem) else ObjectFiles(address, fs, root)


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
            try:
                if entry.is_file():
                    found[entry.name] = _stamp(entry.stat())
            except FileNotFoundError:  # removed since it was listed
                continue
        return dict(sorted(found.items()))

    def folders(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in self._entries(folder) if entry.is_dir())

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / folder) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self.unreachable(error) from error

    def stamp(self, path: str) -> Stamp | None:
        try:
            return _stamp(os.stat(self.folder / path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(str(self.folder / path))

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        with self._aside(path) as (aside, target):
            aside.write_bytes(content)
            os.replace(aside, target)

    @contextmanager
    def replacing(self, path: str) -> Iterator[BinaryIO]:
        with self._aside(path) as (aside, target):
            with aside.open("wb") as file:
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
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            yield aside, target
        finally:
            aside.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        (self.folder / path).unlink(missing_ok=True)

    @contextmanager
    def exclusive(self) -> Iterator[Callable[[], None]]:
        import fcntl

        # The kernel lets go of the lock when its process ends, however it does; so the file can stay.
        path = self.folder / ".lock"
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CosweepError(f"another compaction of {self.address} is under way") from None
            except OSError as error:
                raise CosweepError(f"{path} cannot be locked ({error})") from error
            yield lambda: None


class ObjectFiles(Files):
    """Files in a bucket. An object is seen when its upload is complete; there is no rename and no lock.

    Raises:
        CosweepError: If the bucket does not exist or cannot be reached.
    """

    def __init__(self, address: str, fs: pafs.FileSystem, root: str) -> None:
        super().__init__(address, root.rstrip("/"))
        self._fs = fs
        self._check_bucket()

    def _check_bucket(self) -> None:
        bucket = self.root.split("/")[0]
        if not bucket:
            raise CosweepError(f"results location {self.address}: names no bucket")
        try:
            found = _impatient(self._fs).get_file_info(bucket)
        except OSError as error:
            raise CosweepError(
                f"results location {self.address} cannot be reached; check address, network and credentials ({error})"
            ) from error
        if found.type == pafs.FileType.NotFound:
            raise CosweepError(f"results location {self.address}: there is no bucket {bucket}")

    def exists(self) -> bool:
        return bool(self.names("") or self.folders(""))

    def names(self, folder: str) -> dict[str, Stamp]:
        infos = {info.base_name: info for info in self._list(folder) if info.is_file}
        return {name: _object_stamp(info) for name, info in sorted(infos.items())}

    def folders(self, folder: str) -> list[str]:
        return sorted(info.base_name for info in self._list(folder) if not info.is_file)

    def _list(self, folder: str) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(f"{self.root}/{folder}".rstrip("/"), allow_not_found=True)
        with self._explained():
            return [info for info in self._fs.get_file_info(selector) if not info.base_name.startswith(".")]

    def stamp(self, path: str) -> Stamp | None:
        with self._explained():
            info = self._fs.get_file_info(self.shown(path))
        return _object_stamp(info) if info.is_file else None

    def open(self, path: str) -> pa.NativeFile:
        with self._explained():
            return self._fs.open_input_file(self.shown(path))

    def read(self, path: str) -> bytes:
        with self._explained(), self._fs.open_input_stream(self.shown(path)) as stream:
            content: bytes = stream.read()
        return content

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A bucket that cannot be read is no damaged file: one message for it, not one for each file."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.unreachable(error) from error

    def write(self, path: str, content: bytes) -> None:
        with self._fs.open_output_stream(self.shown(path)) as stream:
            stream.write(content)

    @contextmanager
    def replacing(self, path: str) -> Iterator[BinaryIO]:
        # Closing an upload completes it, after an exception too; so it starts when the content is whole.
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with self._fs.open_output_stream(self.shown(path)) as stream:
                shutil.copyfileobj(file, stream, 8 << 20)

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.delete_file(self.shown(path))

    @contextmanager
    def exclusive(self) -> Iterator[Callable[[], None]]:
        """Each process leaves a sign, then looks for others: of two that come at once, at least one sees the other."""
        mine = f"locks/{uuid.uuid4().hex}.json"
        owner = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
        renewed = time.monotonic()

        def still_in() -> None:
            nonlocal renewed
            age = time.monotonic() - renewed
            if age > LOCK_SECONDS:
                raise CosweepError(f"compaction of {self.address} stood still for {age:.0f} s and gave up")
            if age > LOCK_SECONDS / 4:
                self.write(mine, owner)
                renewed = time.monotonic()

        try:
            self.write(mine, owner)
            self._refuse_others(mine)
            yield still_in
        finally:
            self.delete(mine)

    def _refuse_others(self, mine: str) -> None:
        signs = {f"locks/{name}": stamp for name, stamp in self.names("locks").items()}
        # Both times are the server's, so that clocks need not agree.
        now = signs[mine].changed if mine in signs else 0
        for other in signs.keys() - {mine}:
            if (now - signs[other].changed) / 1e9 < LOCK_SECONDS:
                raise CosweepError(
                    f"another compaction of {self.address} is under way; if it was killed, wait "
                    f"{LOCK_SECONDS / 60:.0f} minutes or delete {self.shown(other)}"
                )
            self.delete(other)


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _object_stamp(info: pafs.FileInfo) -> Stamp:
    return Stamp(info.size or 0, info.mtime_ns or 0)


def _impatient(fs: pafs.FileSystem) -> pafs.FileSystem:
    """The same file system, which gives up within seconds; the usual retries of S3 take up to two minutes."""
    if not isinstance(fs, pafs.S3FileSystem):
        return fs
    _, (options,) = fs.__reduce__()
    return pafs.S3FileSystem(**(options | _PROBE), retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=2))
