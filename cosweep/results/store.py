"""The Parquet store: the truth from which everything else can be rebuilt.

``trials/sweep=NAME/ID.parquet`` holds a trial's row, ``curves/sweep=NAME/ID.parquet`` its probes. The
curve is written first and a trial counts from the moment its row is there, so its rows appear whole or
not at all. Files are named by trial, so a trial has one row however often it ran.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cosweep.errors import CosweepError
from cosweep.results.schema import (
    CURVE_COLUMNS,
    SCHEMA_VERSION,
    SNAPSHOT_COLUMNS,
    SWEEP_COLUMN,
    TRIAL_COLUMNS,
    VERSION_KEY,
    Column,
    table_from_rows,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_READERS = 16
_TABLES = {"trials": TRIAL_COLUMNS, "curves": CURVE_COLUMNS, "snapshots": SNAPSHOT_COLUMNS}


@dataclass(frozen=True)
class BadFile:
    """A file of the store that could not be read."""

    path: str
    problem: str


class Store:
    """Results below one location, a folder or an ``s3://`` or ``gs://`` address.

    Args:
        location: Where the tables are, or will be.

    Raises:
        CosweepError: If the location cannot be understood, or was written by a newer cosweep.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        try:
            if "://" in self.location:
                self._fs, self._root = pafs.FileSystem.from_uri(self.location)
            else:
                self._fs, self._root = pafs.LocalFileSystem(), str(Path(self.location).expanduser().absolute())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CosweepError(f"results location {self.location}: {error}") from error
        self.bad_files: list[BadFile] = []
        self._check_version()

    @property
    def local_path(self) -> Path | None:
        """The folder, if the location is one on this machine's file system."""
        return Path(self._root) if isinstance(self._fs, pafs.LocalFileSystem) else None

    def check_writable(self) -> None:
        """See, without writing, whether a local location could be made and written.

        Raises:
            CosweepError: If it could not.
        """
        if self.local_path is None:
            return
        nearest = next(p for p in (self.local_path, *self.local_path.parents) if os.path.exists(p))
        if not nearest.is_dir():
            raise self._unwritable(f"{nearest} is not a folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise self._unwritable(f"no permission to write in {nearest}")

    def _unwritable(self, reason: object) -> CosweepError:
        return CosweepError(
            f"results folder {self.location} cannot be written ({reason}); "
            "set results.root, or --set results.root=FOLDER, to one that can"
        )

    def create(self) -> None:
        """Make the location ready for writing.

        Raises:
            CosweepError: If it cannot be written.
        """
        marker = json.dumps({"schema_version": SCHEMA_VERSION}) + "\n"
        try:
            self.write_bytes("cosweep.json", marker.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def write_trial(
        self,
        sweep: str,
        row: dict[str, object],
        curve: list[dict[str, object]],
        snapshots: list[dict[str, object]] | None = None,
    ) -> None:
        """Write one trial's row, probes and snapshots; those of the same trial in the same sweep are replaced."""
        trial_id = str(row["trial_id"])
        written = {"curves": curve, "snapshots": snapshots, "trials": [row]}
        tables = {
            kind: table_from_rows([{"trial_id": trial_id, **item} for item in rows], _TABLES[kind])
            for kind, rows in written.items()
            if rows is not None and (rows or kind != "snapshots")
        }
        for kind, table in tables.items():
            self._write_table(kind, sweep, trial_id, table)

    def write_sweep(self, name: str, record: dict[str, Any]) -> None:
        """Keep what was asked in a sweep: its definition, axes and number of trials."""
        self.write_bytes(f"sweeps/{check_name(name)}.json", json.dumps(record, indent=1).encode())

    def sweep_record(self, name: str) -> dict[str, Any]:
        """What :meth:`write_sweep` kept.

        Raises:
            CosweepError: If there is no such sweep; names those there are.
        """
        path = f"{self._root}/sweeps/{check_name(name)}.json"
        if name not in self.sweeps():
            known = ", ".join(self.sweeps()) or "none yet"
            raise CosweepError(f"no sweep {name!r} in {self.location}; sweeps there: {known}")
        with self._fs.open_input_stream(path) as stream:
            record: dict[str, Any] = json.loads(stream.read())
        return record

    def sweeps(self) -> list[str]:
        """Names of the sweeps in the store, sorted."""
        return sorted(Path(p).stem for p in self._files("sweeps") if p.endswith(".json"))

    def trials(self, sweep: str | None = None) -> pa.Table:
        """Table ``trials`` of one sweep or of all, one row per trial."""
        return self._read("trials", sweep)

    def curves(self, sweep: str | None = None) -> pa.Table:
        """Table ``curves`` of one sweep or of all; probes of trials without a row are left out."""
        return self._of_trials("curves", sweep)

    def snapshots(self, sweep: str | None = None) -> pa.Table:
        """Table ``snapshots`` of one sweep or of all."""
        return self._of_trials("snapshots", sweep)

    def _of_trials(self, kind: str, sweep: str | None) -> pa.Table:
        rows = {_partition_and_stem(p) for p in self._files("trials", sweep)}
        return self._concat(kind, [p for p in self._files(kind, sweep) if _partition_and_stem(p) in rows])

    def trial(self, sweep: str, trial_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Row and probes of one finished trial."""
        row, curve = (
            pq.ParquetFile(self._path(kind, sweep, trial_id), filesystem=self._fs).read().to_pylist()
            for kind in ("trials", "curves")
        )
        return row[0], curve

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a file below the root, whole or not at all."""
        path = f"{self._root}/{relative}"
        if not isinstance(self._fs, pafs.LocalFileSystem):
            # Object stores make an object visible when its upload is complete.
            with self._fs.open_output_stream(path) as stream:
                stream.write(content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            aside.write_bytes(content)
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)

    def _write_table(self, kind: str, sweep: str, trial_id: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        relative = self._path(kind, sweep, trial_id).removeprefix(f"{self._root}/")
        self.write_bytes(relative, sink.getvalue().to_pybytes())

    def _path(self, kind: str, sweep: str, trial_id: str) -> str:
        return f"{self._root}/{kind}/sweep={check_name(sweep)}/{check_name(trial_id)}.parquet"

    def _files(self, kind: str, sweep: str | None = None) -> list[str]:
        folder = f"{self._root}/{kind}" + (f"/sweep={check_name(sweep)}" if sweep else "")
        selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return sorted(i.path for i in infos if i.is_file and not Path(i.path).name.startswith("."))

    def _read(self, kind: str, sweep: str | None) -> pa.Table:
        return self._concat(kind, self._files(kind, sweep))

    def _concat(self, kind: str, files: Iterable[str]) -> pa.Table:
        with ThreadPoolExecutor(_READERS) as pool:
            tables = [t for t in pool.map(self._read_file, files) if t is not None]
        columns: tuple[Column, ...] = (*_TABLES[kind], SWEEP_COLUMN)
        empty = pa.schema([(c.name, c.type) for c in columns]).empty_table()
        return _concatenate([empty, *tables])

    def _read_file(self, path: str) -> pa.Table | None:
        try:
            table = pq.ParquetFile(path, filesystem=self._fs).read()
        except (pa.ArrowException, OSError) as error:
            self.bad_files.append(BadFile(path, str(error)))
            return None
        _refuse_newer(int((table.schema.metadata or {}).get(VERSION_KEY, b"1")), path)
        sweep, _ = _partition_and_stem(path)
        column = pa.array([sweep] * len(table), SWEEP_COLUMN.type)
        return table.append_column(SWEEP_COLUMN.name, column).replace_schema_metadata(None)

    def _check_version(self) -> None:
        path = f"{self._root}/cosweep.json"
        try:
            if self._fs.get_file_info(path).type != pafs.FileType.File:
                return
            with self._fs.open_input_stream(path) as stream:
                version = int(json.loads(stream.read())["schema_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CosweepError(f"results location {self.location}: {path} cannot be read ({error})") from error
        _refuse_newer(version, self.location)


def check_name(name: str) -> str:
    """A name that can be part of a path below the root, unchanged.

    Raises:
        CosweepError: If it could leave its folder or be mistaken for a hidden file.
    """
    if not _NAME.fullmatch(name):
        raise CosweepError(
            f"name {name!r} must start with a letter or digit and hold only letters, digits, '.', '_' and '-'"
        )
    return name


def _concatenate(tables: list[pa.Table]) -> pa.Table:
    """Rows of all tables; a column whose types do not go together becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        types: dict[str, set[pa.DataType]] = {}
        for field in (field for table in tables for field in table.schema if not pa.types.is_null(field.type)):
            types.setdefault(field.name, set()).add(field.type)
        clashing = {name for name, found in types.items() if len(found) > 1 and pa.string() in found}
        return pa.concat_tables([_as_text(table, clashing) for table in tables], promote_options="permissive")


def _as_text(table: pa.Table, columns: set[str]) -> pa.Table:
    for name in columns.intersection(table.column_names):
        texts = pa.array([None if v is None else str(v) for v in table[name].to_pylist()], pa.string())
        table = table.set_column(table.column_names.index(name), name, texts)
    return table


def _partition_and_stem(path: str) -> tuple[str, str]:
    parts = Path(path)
    return parts.parent.name.removeprefix("sweep="), parts.stem


def _refuse_newer(version: int, where: str) -> None:
    if version > SCHEMA_VERSION:
        raise CosweepError(
            f"{where} was written by a newer cosweep (schema {version}; this one reads up to "
            f"{SCHEMA_VERSION}); upgrade cosweep, or use another results folder"
        )
