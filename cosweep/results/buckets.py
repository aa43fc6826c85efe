"""Buckets as locations of a store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from cosweep.errors import CosweepError
from cosweep.results.files import MOST_BYTES, BusyError, Files, OddFileError, Stamp, slug

_LOOK_SECONDS = 5.0


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

    def odd(self, folder: str) -> dict[str, str]:
        return {}

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

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        with self._explained(), self._fs.open_input_file(self.shown(path)) as file:
            if file.size() <= most:
                content: bytes = file.read()
                return content
        raise OddFileError(f"is larger than {most:,} bytes")

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
        with self._explained(), self._fs.open_output_stream(self.shown(path)) as stream:
            stream.write(content)

    @contextmanager
    def replacing(self, path: str) -> Iterator[BinaryIO]:
        # Closing an upload completes it, after an exception too; so it starts when the content is whole.
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with self._explained(), self._fs.open_output_stream(self.shown(path)) as stream:
                shutil.copyfileobj(file, stream, 8 << 20)

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError), self._explained():
            self._fs.delete_file(self.shown(path))

    @contextmanager
    def exclusive(self, name: str, seconds: float, *, wait: bool = False) -> Iterator[Callable[[], None]]:
        """Each process leaves a sign, then looks for others: of two that come at once, at least one sees the other."""
        mine = f"locks/{slug(name)}/{uuid.uuid4().hex}.json"
        owner = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
        renewed = time.monotonic()

        def still_in() -> None:
            nonlocal renewed
            if time.monotonic() - renewed < seconds / 4:
                return
            if self.stamp(mine) is None:
                raise BusyError(f"another {name} took {self.address} over, since this one had stood still")
            self.write(mine, owner)
            renewed = time.monotonic()

        try:
            self.write(mine, owner)
            seen: dict[str, Stamp] = {}
            while others := self._other_signs(name, seconds, mine):
                if not wait or any(seen.get(sign, stamp) != stamp for sign, stamp in others.items()):
                    raise self._busy(name, seconds, min(others))
                seen = others | seen
                time.sleep(min(_LOOK_SECONDS, seconds / 8))
                self.write(mine, owner)
            renewed = time.monotonic()
            yield still_in
        finally:
            with suppress(CosweepError):  # else it is old soon
                self.delete(mine)

    def _other_signs(self, name: str, seconds: float, mine: str) -> dict[str, Stamp]:
        """Signs of others that may live; removes those that do not."""
        folder = f"locks/{slug(name)}"
        signs = {f"{folder}/{sign}": stamp for sign, stamp in self.names(folder).items()}
        # Both times are the server's, so that clocks need not agree.
        now = signs[mine].changed if mine in signs else 0
        old = {sign for sign, stamp in signs.items() if (now - stamp.changed) / 1e9 >= seconds}
        for sign in old:
            self.delete(sign)
        return {sign: stamp for sign, stamp in signs.items() if sign not in old and sign != mine}

    def _busy(self, name: str, seconds: float, sign: str) -> BusyError:
        try:
            owner = json.loads(self.read(sign))
            who = f"process {owner['process']} on {owner['host']}"
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # ended since, or not ours
            who = "its owner"
        return BusyError(
            f"another {name} works on {self.address}: {who}. If that was killed, wait {seconds:.0f} s "
            f"or delete {self.shown(sign)}"
        )


def _object_stamp(info: pafs.FileInfo) -> Stamp:
    return Stamp(info.size or 0, info.mtime_ns or 0)


def _impatient(fs: pafs.FileSystem) -> pafs.FileSystem:
    """The same file system, which gives up within seconds; the usual retries take minutes."""
    limits: dict[str, Any] = {}
    if fs.type_name == "s3":
        limits = {"connect_timeout": 5.0, "request_timeout": 10.0}
        limits["retry_strategy"] = pafs.AwsStandardS3RetryStrategy(max_attempts=2)
    elif fs.type_name == "gcs":
        limits = {"retry_time_limit": timedelta(seconds=5)}
    if not limits:
        return fs
    _, (options,) = fs.__reduce__()
    return type(fs)(**(options | limits))
