"""The Parquet store: the truth from which everything else can be rebuilt.

``trials/sweep=NAME/ID.parquet`` holds a trial's row, ``curves/sweep=NAME/ID.parquet`` its probes,
``snapshots/sweep=NAME/ID.parquet`` its perturbations if it kept any. The row is written last and a trial counts
from the moment it is there, so its rows appear whole or not at all. Files are named by trial, so a trial has one
row however often it ran. ``compacted.parquet`` beside them holds the trials that were compacted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.results.buckets import ObjectFiles
from cosweep.results.files import Files, LocalFiles
from cosweep.results.partition import BadFile, Partition, check_name, is_name
from cosweep.results.probes import checked_curves, probes_once
from cosweep.results.records import MOST_BYTES, checked_pulse, checked_record, parse_json, schema_version
from cosweep.results.schema import SCHEMA_VERSION, SWEEP_COLUMN, TABLES, table_from_rows
from cosweep.results.tables import concatenate, empty_table, newer

__all__ = ["BadFile", "Store", "check_name"]

_MARKER = "cosweep.json"


class Store:
    """Results below one location, a folder or an ``s3://`` or ``gs://`` address.

    Args:
        location: Where the tables are, or will be.

    Raises:
        CosweepError: If the location cannot be understood or reached, or was written by a newer cosweep.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        self.files = _files_at(self.location)
        self._bad_files: dict[str, BadFile] = {}
        self._known: dict[str, tuple[object, dict[str, int | None]]] = {}
        self._check_version()

    @property
    def local_path(self) -> Path | None:
        """The folder, if the location is one on this machine's file system."""
        return self.files.folder if isinstance(self.files, LocalFiles) else None

    @property
    def bad_files(self) -> list[BadFile]:
        """Files that could not be read so far, each once."""
        return sorted(self._bad_files.values(), key=lambda bad: bad.path)

    def exists(self) -> bool:
        """Whether there is anything at the location."""
        return self.files.exists()

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
            self.files.write(_MARKER, marker.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def check_made(self) -> None:
        """See that the location is one that :meth:`create` has made, and not a folder that is to be mounted.

        Raises:
            CosweepError: If it is not.
        """
        if self.files.stamp(_MARKER) is None:
            raise CosweepError(
                f"results location {self.location}: {self.files.shown(_MARKER)} is not there; "
                "is it mounted on this machine?"
            )

    def own_row(self, sweep: str, trial_id: str) -> dict[str, Any] | None:
        """The row in a trial's own file; None if it has none that can be read."""
        rows = self.partition("trials", sweep).fragment(trial_id)
        return rows[0] if rows else None

    def write_trial(
        self,
        sweep: str,
        row: dict[str, object],
        curve: list[dict[str, object]],
        snapshots: list[dict[str, object]] | None = None,
    ) -> None:
        """Write one trial's row, probes and snapshots; those of the same trial in the same sweep are replaced."""
        trial_id = str(row["trial_id"])
        kept = row | {"probes": len(curve)}
        written = {"curves": curve, "snapshots": snapshots or [], "trials": [kept]}
        tables = {
            kind: table_from_rows([{"trial_id": trial_id, **item} for item in rows], TABLES[kind])
            for kind, rows in written.items()
        }
        for kind, table in tables.items():
            partition = self.partition(kind, sweep)
            if len(table) or kind != "snapshots" or _holds(partition, trial_id):
                partition.write(trial_id, table)

    def write_sweep(self, name: str, record: dict[str, Any]) -> None:
        """Keep what was asked in a sweep: its definition, axes and number of trials."""
        self.write_bytes(_record_path(check_name(name)), json.dumps(record, indent=1).encode())

    def sweep_record(self, name: str) -> dict[str, Any]:
        """What :meth:`write_sweep` kept.

        Raises:
            CosweepError: If there is no such sweep; names those there are.
        """
        known = self.sweeps()
        if check_name(name) not in known:
            raise self.no_sweep(name, known)
        try:
            return self._read_record(name)
        except (OSError, ValueError) as error:
            raise CosweepError(f"{self.files.shown(_record_path(name))} {_damaged(error)}") from error

    def definition(self, sweep: str) -> dict[str, Any] | None:
        """The record of a sweep; None if the store keeps none, or a damaged one, which is noted."""
        try:
            return self._read_record(check_name(sweep))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            shown = self.files.shown(_record_path(sweep))
            self._bad_files[shown] = BadFile(shown, _damaged(error))
            return None

    def _read_record(self, name: str) -> dict[str, Any]:
        return checked_record(parse_json(self.files.read(_record_path(name), MOST_BYTES)), name)

    def write_pulse(self, sweep: str, pulse: dict[str, Any]) -> None:
        """Keep what a running driver says of itself, with the time now."""
        said = {"at": datetime.now(UTC).isoformat(), **pulse}
        self.write_bytes(f"pulses/{check_name(sweep)}.json", json.dumps(said).encode())

    def pulse(self, sweep: str) -> dict[str, Any]:
        """What :meth:`write_pulse` kept last; empty if nothing."""
        try:
            return checked_pulse(parse_json(self.files.read(f"pulses/{check_name(sweep)}.json", MOST_BYTES)))
        except (OSError, ValueError):  # none, or damaged: nothing is known of a driver
            return {}

    def no_sweep(self, name: str, known: list[str]) -> CosweepError:
        """What to say of a sweep that is not there."""
        return CosweepError(f"no sweep {name!r} in {self.location}; sweeps there: {', '.join(known) or 'none yet'}")

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were defined, sorted."""
        # What is no file stays a sweep, whose record cannot be read, and who asks for it is told why.
        entries = sorted({*self.files.names("sweeps"), *self.files.odd("sweeps")})
        names = [name for name in entries if name.endswith(".json")]
        return self._named({name: name.removesuffix(".json") for name in names}, "sweeps")

    def swept(self) -> list[str]:
        """Names of the sweeps that have trials, sorted."""
        there = {*self.files.names("trials"), *self.files.odd("trials")}
        folders = self.files.folders("trials")  # looked at last: a folder that is made meanwhile is one
        for name in sorted(there.difference(folders)):
            if name.startswith("sweep="):
                self._note(f"trials/{name}", "is no folder")
        return self._named({n: n.removeprefix("sweep=") for n in folders if n.startswith("sweep=")}, "trials")

    def _named(self, found: dict[str, str], folder: str) -> list[str]:
        """Names of sweeps by the files that say them, without those that no sweep can have, which are noted."""
        for file in [file for file, name in found.items() if not is_name(name)]:
            self._note(f"{folder}/{file}", "no sweep can have this name")
        return [name for name in found.values() if is_name(name)]

    def _note(self, path: str, problem: str) -> None:
        shown = self.files.shown(path)
        self._bad_files[shown] = BadFile(shown, problem)

    def trials(self, sweep: str | None = None) -> pa.Table:
        """Table ``trials`` of one sweep or of all, one row per trial."""
        return self._read("trials", sweep)

    def curves(self, sweep: str | None = None) -> pa.Table:
        """Table ``curves`` of one sweep or of all; probes of trials without a row that can be read are left out.

        A curve that is not as its trial's row says is noted in ``bad_files``; see :mod:`cosweep.results.probes`.
        """
        return self._read("curves", sweep)

    def snapshots(self, sweep: str | None = None) -> pa.Table:
        """Table ``snapshots`` of one sweep or of all; those of trials without a row that can be read are left out."""
        return self._read("snapshots", sweep)

    def trial(self, sweep: str, trial_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Row and probes of one trial; no probes if they cannot be read.

        Raises:
            CosweepError: If it has no row that can be read.
        """
        rows = self.partition("trials", sweep).trial(trial_id)
        if not rows:
            raise CosweepError(f"no row of trial {trial_id} of sweep {sweep} can be read in {self.location}")
        curve = self.partition("curves", sweep).trial(trial_id)
        return rows[0], [curve[place] for place in probes_once(curve) or ()]

    def partition(self, kind: str, sweep: str) -> Partition:
        """The files of one table of one sweep."""
        return Partition(self.files, kind, sweep, self._bad_files)

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a file below the root, whole or not at all.

        Raises:
            CosweepError: If it cannot be written.
        """
        try:
            self.files.write(relative, content)
        except OSError as error:
            raise CosweepError(f"{self.files.shown(relative)} cannot be written: {error}") from error

    def _read(self, kind: str, sweep: str | None) -> pa.Table:
        tables = [empty_table(kind).append_column(SWEEP_COLUMN.name, pa.array([], SWEEP_COLUMN.type))]
        for name in self.swept() if sweep is None else [sweep]:
            if kind == "trials":
                table = self._trials(name)
            else:
                written = self._written(name)
                table = self.partition(kind, name).read(written.keys())
                table = self._checked(table, name, written) if kind == "curves" else table
            tables.append(table.append_column(SWEEP_COLUMN.name, pa.repeat(name, len(table))))
        return concatenate(tables)

    def _trials(self, sweep: str) -> pa.Table:
        partition = self.partition("trials", sweep)
        version = partition.version()
        rows = partition.read()
        known = rows.select(["trial_id", "status", "probes"]).to_pylist()
        # A failed trial may be written anew between two looks.
        written = {r["trial_id"]: None if r["status"] == TrialStatus.FAILED else r["probes"] for r in known}
        self._known[sweep] = version, written
        return rows

    def trial_ids(self, sweep: str) -> Set[str]:
        """Trials of a sweep with a row that can be read."""
        return self._written(sweep).keys()

    def _written(self, sweep: str) -> dict[str, int | None]:
        """Trials with a row that can be read, and how many probes it says were written, if it does.

        They are read again only if files changed since.
        """
        if self._known.get(sweep, (None, {}))[0] != self.partition("trials", sweep).version():
            self._trials(sweep)
        return self._known[sweep][1]

    def _checked(self, curves: pa.Table, sweep: str, written: Mapping[str, int | None]) -> pa.Table:
        curves, doubts = checked_curves(curves, written)
        partition = self.partition("curves", sweep)
        # No curve is to be expected of a file that cannot be read.
        unreadable = {i for i in doubts if self.files.shown(partition.path(i)) in self._bad_files}
        if self.files.shown(partition.compacted_path) in self._bad_files:
            unreadable |= written.keys() - set(curves["trial_id"].to_pylist())
        for trial_id in doubts.keys() - unreadable:
            place = f"{self.files.shown(partition.folder)}, trial {trial_id}"
            self._bad_files[place] = BadFile(place, *doubts[trial_id])
        return curves

    def _check_version(self) -> None:
        try:
            if self.files.stamp(_MARKER) is None:
                return
            version = schema_version(self.files.read(_MARKER, MOST_BYTES))
        except (OSError, ValueError) as error:
            shown = self.files.shown(_MARKER)
            raise CosweepError(
                f"results location {self.location}: {shown} cannot be read ({error}); if this is a "
                "results folder, remove the file: cosweep run writes it anew"
            ) from error
        if version > SCHEMA_VERSION:
            raise CosweepError(f"{self.location} {newer(version)}")


def _files_at(address: str) -> Files:
    if "://" not in address:
        return LocalFiles(address, Path(address).expanduser().absolute())
    try:
        fs, root = pafs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CosweepError(f"results location {address}: {error}") from error
    return LocalFiles(address, Path(root)) if isinstance(fs, pafs.LocalFileSystem) else ObjectFiles(address, fs, root)


def _record_path(sweep: str) -> str:
    return f"sweeps/{sweep}.json"


def _damaged(error: Exception) -> str:
    return f"is damaged ({error}); cosweep run with the sweep's definition writes it anew"


def _holds(partition: Partition, trial_id: str) -> bool:
    """Whether a partition has rows of a trial, which an empty file then replaces."""
    own = partition.files.stamp(partition.path(trial_id))
    return own is not None or bool(partition.trial(trial_id))
