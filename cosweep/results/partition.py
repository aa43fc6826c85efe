"""One table of one sweep: a file for each trial, and one file of all that were compacted.

A trial's own file, its fragment, wins over its rows in the compacted file. Who compacts publishes the compacted
file before removing a fragment; who reads lists the fragments before opening the compacted file. So a trial is
always in one of the two, and counts once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosweep.errors import CosweepError
from cosweep.results.files import Files, Stamp
from cosweep.results.tables import (
    FRAGMENT,
    UnreadableError,
    check_trial,
    concatenate,
    empty_table,
    open_parquet,
    read_rows,
)

T = TypeVar("T")

COMPACTED = "compacted"
"""Stem of the compacted file. No trial may have it as its id; ids of specs are hexadecimal."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = ".parquet"
_READERS = 8
_LISTINGS = 20
_AT_ONCE = 500


@dataclass(frozen=True)
class BadFile:
    """A file of the store that could not be read, or a place in it that is not as it was written.

    Attributes:
        path: Which.
        problem: What is wrong.
        left_out: Whether its rows are missing for it.
    """

    path: str
    problem: str
    left_out: bool = True


@dataclass
class Fragments:
    """What was found in some trials' own files.

    Attributes:
        rows: Their rows.
        trials: Whose files were read; some may have no row.
        bad: Whose files could not be read.
        gone: Whose files were no longer there.
    """

    rows: pa.Table
    trials: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class Partition:
    """The files of one table of one sweep.

    Args:
        files: Of the store.
        kind: ``trials``, ``curves`` or ``snapshots``.
        sweep: Name of the sweep.
        bad_files: By path; what cannot be read is added.
    """

    def __init__(self, files: Files, kind: str, sweep: str, bad_files: dict[str, BadFile]) -> None:
        self.files, self.kind, self.sweep = files, kind, sweep
        self.folder = f"{kind}/sweep={check_name(sweep)}"
        self.compacted_path = f"{self.folder}/{COMPACTED}{_SUFFIX}"
        self._bad_files = bad_files

    def path(self, trial_id: str) -> str:
        """A trial's own file.

        Raises:
            CosweepError: If no trial can have this id.
        """
        check_name(trial_id)
        return f"{self.folder}/{trial_id}{_SUFFIX}"

    def write(self, trial_id: str, rows: pa.Table) -> None:
        """Write a trial's own file, or replace it.

        Raises:
            CosweepError: If no trial can have this id.
        """
        if trial_id == COMPACTED:
            raise CosweepError(f"a trial cannot have the id {COMPACTED!r}, whose file is that of compacted trials")
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, **FRAGMENT)
        self.files.write(self.path(trial_id), sink.getvalue().to_pybytes())

    def fragments(self) -> dict[str, Stamp]:
        """Trials that have a file of their own, and its version."""
        names = self.files.names(self.folder).items()
        found = {name.removesuffix(_SUFFIX): stamp for name, stamp in names if name.endswith(_SUFFIX)}
        found.pop(COMPACTED, None)
        for name in [name for name in found if not is_name(name)]:
            self.note(f"{self.folder}/{name}{_SUFFIX}", "no trial can have this name")
            del found[name]
        return found

    def trial_ids(self) -> set[str]:
        """Trials that are there, by the names of their files or in the compacted one."""
        fragments = self.fragments()
        return fragments.keys() | self.compacted_ids()

    def compacted_ids(self) -> set[str]:
        """Trials with rows in the compacted file."""
        table = self._compacted_rows(["trial_id"])
        return set(pc.unique(table["trial_id"]).to_pylist())

    def read(self, only: Set[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of all trials, or of those in ``only``; each trial's in their order.

        Raises:
            CosweepError: If files keep vanishing while they are read.
        """
        found = Fragments(empty_table(self.kind, columns))
        for _ in range(_LISTINGS):
            known = found.trials | found.bad
            left = [i for i in self.fragments() if i not in known and (only is None or i in only)]
            compacted = self._compacted_rows(columns)
            more = self.read_fragments(left, columns)
            found = Fragments(concatenate([found.rows, more.rows]), found.trials | more.trials, found.bad | more.bad)
            if not more.gone:
                return merged(compacted if only is None else _of_trials(compacted, only), found)
        raise CosweepError(f"{self.files.shown(self.folder)}: files keep vanishing while they are read")

    def read_fragments(self, trial_ids: Collection[str], columns: Sequence[str] | None = None) -> Fragments:
        """Rows of some trials' own files; those that cannot be read are noted."""
        found = Fragments(empty_table(self.kind, columns))
        tables = [found.rows]
        with ThreadPoolExecutor(_READERS) as pool:
            for some in chunks(trial_ids, _AT_ONCE):
                futures = {i: pool.submit(self._read_fragment, i, columns) for i in some}
                part = [table for i, future in futures.items() if (table := self._result(i, future, found)) is not None]
                # A table of one trial takes more memory than its numbers do.
                tables += [concatenate(part).combine_chunks()] if part else []
        found.rows = concatenate(tables)
        return found

    def _result(self, trial_id: str, future: Future[pa.Table], found: Fragments) -> pa.Table | None:
        try:
            table = future.result()
        except FileNotFoundError:
            found.gone.add(trial_id)
            return None
        except UnreadableError as error:
            self.note(self.path(trial_id), error)
            found.bad.add(trial_id)
            return None
        found.trials.add(trial_id)
        return table

    def _read_fragment(self, trial_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        table = read_rows(self._open_fragment(trial_id), self.kind, columns)
        held = pc.unique(table["trial_id"]).to_pylist()
        if held != [trial_id] and held:
            raise UnreadableError(f"holds rows of trial {', '.join(map(str, held[:3]))}")
        if self.kind == "trials" and len(table) != 1:
            raise UnreadableError(f"holds {len(table)} rows, not one")
        if self.kind == "trials" and columns is None:
            check_trial(table.to_pylist()[0])
        return table

    def _open_fragment(self, trial_id: str) -> pq.ParquetFile:
        try:
            content = self.files.read(self.path(trial_id))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableError(str(error)) from error
        return open_parquet(pa.BufferReader(content))

    def schemas(self, trial_ids: Collection[str]) -> list[pa.Schema]:
        """Distinct schemas of some trials' own files, as far as they can be read."""

        def schema(trial_id: str) -> pa.Schema | None:
            try:
                return self._open_fragment(trial_id).schema_arrow
            except (FileNotFoundError, UnreadableError):
                return None

        with ThreadPoolExecutor(_READERS) as pool:
            return list({found for found in pool.map(schema, trial_ids) if found is not None})

    def fragment(self, trial_id: str) -> list[dict[str, Any]]:
        """Rows in a trial's own file; none if it has none that can be read."""
        try:
            rows: list[dict[str, Any]] = self._read_fragment(trial_id).to_pylist()
        except (FileNotFoundError, UnreadableError):
            return []
        return rows

    def trial(self, trial_id: str) -> list[dict[str, Any]]:
        """Rows of one trial; none if it has none."""
        try:
            table = self._read_fragment(trial_id)
        except (FileNotFoundError, UnreadableError) as error:
            if isinstance(error, UnreadableError):
                self.note(self.path(trial_id), error)
            table = self._noted(lambda file: rows_between(file, self.kind, trial_id, trial_id))
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        return rows

    def _compacted_rows(self, columns: Sequence[str] | None) -> pa.Table:
        found = self._noted(lambda file: read_rows(file, self.kind, columns))
        return empty_table(self.kind, columns) if found is None else found

    def _noted(self, read: Callable[[pq.ParquetFile], pa.Table]) -> pa.Table | None:
        try:
            return self.from_compacted(read)
        except UnreadableError as error:
            self.note(self.compacted_path, error)
            return None

    def from_compacted(self, read: Callable[[pq.ParquetFile], T]) -> T | None:
        """What a function makes of the compacted file; None if there is none.

        Raises:
            UnreadableError: If it cannot be read.
        """
        while (stamp := self.files.stamp(self.compacted_path)) is not None:
            try:
                return read(open_parquet(self.files.open(self.compacted_path)))
            except (UnreadableError, OSError) as error:
                # On an object store, a file replaced while it is read looks damaged.
                if self.files.stamp(self.compacted_path) == stamp:
                    raise UnreadableError(str(error)) from error
        return None

    def note(self, path: str, problem: object) -> None:
        """Keep that a file could not be read; once, however often it is tried."""
        shown = self.files.shown(path)
        self._bad_files[shown] = BadFile(shown, str(problem))


def merged(compacted: pa.Table, fragments: Fragments) -> pa.Table:
    """Rows of a compacted file and of fragments, which win."""
    if fragments.trials and len(compacted):
        hidden = pc.is_in(compacted["trial_id"], _ids(fragments.trials))
        compacted = compacted.filter(pc.invert(hidden))
    return concatenate([compacted, fragments.rows])


def rows_between(file: pq.ParquetFile, kind: str, first: str, last: str) -> pa.Table:
    """Rows of a compacted file whose trial ids lie between two, both included."""
    place = file.schema_arrow.get_field_index("trial_id")
    groups = [i for i in range(file.num_row_groups) if _overlaps(file.metadata.row_group(i).column(place), first, last)]
    table = read_rows(file, kind, groups=groups)
    ids = table["trial_id"]
    return table.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last)))


def _overlaps(column: pq.ColumnChunkMetaData, first: str, last: str) -> bool:
    found = column.statistics
    return found is None or not found.has_min_max or (found.min <= last and first <= found.max)


def _of_trials(table: pa.Table, trial_ids: Set[str]) -> pa.Table:
    if set(pc.unique(table["trial_id"]).to_pylist()) <= trial_ids:
        return table
    return table.filter(pc.is_in(table["trial_id"], _ids(trial_ids)))


def _ids(trial_ids: Set[str]) -> pa.Array:
    return pa.array(trial_ids, pa.string(), size=len(trial_ids))


def chunks(items: Collection[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most ``size``."""
    found = list(items)
    for start in range(0, len(found), size):
        yield found[start : start + size]


def is_name(name: str) -> bool:
    """Whether it can be part of a path below the root."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """A name that can be part of a path below the root, unchanged.

    Raises:
        CosweepError: If it could leave its folder or be mistaken for a hidden file.
    """
    if not is_name(name):
        raise CosweepError(
            f"name {name!r} must start with a letter or digit and hold only letters, digits, '.', '_' and '-'"
        )
    return name
