"""One table of one sweep: a file for each trial, and one file of all that were compacted.

A trial's own file, its fragment, wins over its rows in the compacted file. Who compacts publishes the compacted
file before removing a fragment; who reads lists the fragments before opening the compacted file. So a trial is
always in one of the two, and counts once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosweep.errors import CosweepError, shown
from cosweep.results.files import Files, Stamp
from cosweep.results.tables import (
    FRAGMENT,
    UnreadableError,
    concatenate,
    empty_table,
    open_parquet,
    parquet_writer,
    read_rows,
    unsound,
)

T = TypeVar("T")

COMPACTED = "compacted"
"""Stem of the compacted file. No trial may have it as its id; ids of specs are hexadecimal."""

_MOST_LETTERS = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_MOST_LETTERS - 1}}}")
_SUFFIX = ".parquet"
_READERS = 8
_LISTINGS = 20
_AT_ONCE = 500
# Of a trial's own file: 100 probes take 20 kB, 1,000 pictures of 224 x 224 at two moments 7 GB.
_MOST_BYTES = {"trials": 64 << 20, "curves": 1 << 30, "snapshots": 8 << 30}


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
        file = io.BytesIO()
        with parquet_writer(file, rows.schema, FRAGMENT) as out:
            out.write_table(rows)
        self.files.write(self.path(trial_id), file.getvalue())

    def fragments(self) -> dict[str, Stamp]:
        """Trials that have a file of their own, and its version; what cannot be one is noted."""
        names = self.files.names(self.folder).items()
        found = {name.removesuffix(_SUFFIX): stamp for name, stamp in names if name.endswith(_SUFFIX)}
        found.pop(COMPACTED, None)
        for name in [name for name in found if not is_name(name)]:
            self.note(f"{self.folder}/{name}{_SUFFIX}", "no trial can have this name")
            del found[name]
        for name, oddity in self.files.odd(self.folder).items():
            if name.endswith(_SUFFIX):
                self.note(f"{self.folder}/{name}", oddity)
        return found

    def version(self) -> object:
        """What is equal as long as no file was written or removed."""
        return self.files.stamp(self.compacted_path), self.fragments()

    def read(self, only: Set[str] | None = None) -> pa.Table:
        """Rows of all trials, or of those in ``only``; each trial's in their order.

        Raises:
            CosweepError: If files keep vanishing while they are read.
        """
        found = Fragments(empty_table(self.kind))
        for _ in range(_LISTINGS):
            known = found.trials | found.bad
            left = [i for i in self.fragments() if i not in known and (only is None or i in only)]
            compacted = self._noted(lambda file: read_rows(file, self.kind), whole=True)
            more = self.read_fragments(left)
            found = Fragments(concatenate([found.rows, more.rows]), found.trials | more.trials, found.bad | more.bad)
            if not more.gone:
                old = empty_table(self.kind) if compacted is None else compacted
                return merged(self._sound(hidden(old, found), only), found)
        raise CosweepError(f"{self.files.shown(self.folder)}: files keep vanishing while they are read")

    def read_fragments(self, trial_ids: Collection[str]) -> Fragments:
        """Rows of some trials' own files; those that cannot be read are noted."""
        found = Fragments(empty_table(self.kind))
        tables = [found.rows]
        with ThreadPoolExecutor(_READERS) as pool:
            for some in chunks(trial_ids, _AT_ONCE):
                futures = {i: pool.submit(self._read_fragment, i) for i in some}
                part = [table for i, future in futures.items() if (table := self._result(i, future, found)) is not None]
                # A table of one trial takes more memory than its numbers do.
                together = concatenate([empty_table(self.kind), *part]).combine_chunks()
                wrong = unsound(together, self.kind)
                for trial_id, problem in wrong.items():
                    self.note(self.path(trial_id), problem)
                found.bad |= wrong.keys()
                found.trials -= wrong.keys()
                tables.append(without(together, wrong.keys()))
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

    def _read_fragment(self, trial_id: str) -> pa.Table:
        """Rows in a trial's own file, which may be :func:`unsound`."""
        table = read_rows(self._open_fragment(trial_id), self.kind)
        held = pc.unique(table["trial_id"]).to_pylist()
        if held != [trial_id] and held:
            raise UnreadableError(f"holds rows of trial {', '.join(map(str, held[:3]))}")
        if self.kind == "trials" and len(table) != 1:
            raise UnreadableError(f"holds {len(table)} rows, not one")
        return table

    def _open_fragment(self, trial_id: str) -> pq.ParquetFile:
        try:
            content = self.files.read(self.path(trial_id), _MOST_BYTES[self.kind])
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableError(str(error)) from error
        return open_parquet(pa.BufferReader(content), self.kind)

    def _sound(self, compacted: pa.Table, only: Set[str] | None) -> pa.Table:
        """Rows of the compacted file that are sound, and of trials in ``only``; what is wrong with others is noted."""
        wrong = unsound_ids(compacted, self.kind)
        if wrong:
            self.note(self.compacted_path, told(wrong))
        return without(compacted if only is None else _of_trials(compacted, only), wrong.keys())

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
        rows = self._own_rows(trial_id)
        return [] if rows is None else rows.to_pylist()

    def trial(self, trial_id: str) -> list[dict[str, Any]]:
        """Rows of one trial; none if it has none."""
        table = self._own_rows(trial_id)
        if table is None:
            table = self._noted(lambda file: rows_between(file, self.kind, trial_id, trial_id), whole=False)
            table = None if table is None else self._sound(table, None)
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        return rows

    def _own_rows(self, trial_id: str) -> pa.Table | None:
        try:
            table = self._read_fragment(trial_id)
            if wrong := unsound(table, self.kind):
                raise UnreadableError(wrong[trial_id])
        except FileNotFoundError:
            return None
        except UnreadableError as error:
            self.note(self.path(trial_id), error)
            return None
        return table

    def _noted(self, read: Callable[[pq.ParquetFile], pa.Table], *, whole: bool) -> pa.Table | None:
        try:
            return self.from_compacted(read, whole=whole)
        except UnreadableError as error:
            self.note(self.compacted_path, error)
            return None

    def from_compacted(self, read: Callable[[pq.ParquetFile], T], *, whole: bool) -> T | None:
        """What a function makes of the compacted file; None if there is none.

        Args:
            read: The function.
            whole: Whether to hold all of it against its checksum before.

        Raises:
            UnreadableError: If it cannot be read.
        """
        while (stamp := self.files.stamp(self.compacted_path)) is not None:
            try:
                return read(open_parquet(self.files.open(self.compacted_path), self.kind, whole=whole))
            except (UnreadableError, OSError) as error:
                # On an object store, a file replaced while it is read looks damaged.
                if self.files.stamp(self.compacted_path) == stamp:
                    raise UnreadableError(str(error)) from error
        return None

    def note(self, path: str, problem: object) -> None:
        """Keep that a file could not be read; once, however often it is tried."""
        shown = self.files.shown(path)
        self._bad_files[shown] = BadFile(shown, str(problem))


def hidden(compacted: pa.Table, fragments: Fragments) -> pa.Table:
    """Rows of a compacted file without those of trials that have a file of their own, which wins."""
    return without(compacted, fragments.trials)


def merged(compacted: pa.Table, fragments: Fragments) -> pa.Table:
    """Rows of a compacted file, from :func:`hidden`, and of fragments."""
    return concatenate([compacted, fragments.rows])


def unsound_ids(rows: pa.Table, kind: str) -> dict[str, str]:
    """As :func:`unsound`, with trials of ids that no trial can have."""
    ids = pc.unique(rows["trial_id"]).to_pylist()
    wrong = {
        trial_id: "no trial can have this id" for trial_id in ids if not is_name(trial_id) or trial_id == COMPACTED
    }
    return unsound(rows, kind) | wrong


def told(wrong: Mapping[str, str]) -> str:
    """What is wrong with the rows of some trials, of which the first is named."""
    first = min(wrong)
    others = f"; {len(wrong) - 1} others are wrong too" if len(wrong) > 1 else ""
    return f"trial {first}: {wrong[first]}{others}"


def without(table: pa.Table, trial_ids: Set[str]) -> pa.Table:
    """The rows of all trials but some."""
    if not trial_ids or not len(table):
        return table
    return table.filter(pc.invert(pc.is_in(table["trial_id"], _ids(trial_ids))))


def rows_between(file: pq.ParquetFile, kind: str, first: str, last: str) -> pa.Table:
    """Rows of a compacted file whose trial ids lie between two, both included."""
    place = next(i for i in range(len(file.schema)) if file.schema.column(i).path == "trial_id")
    groups = [i for i in range(file.num_row_groups) if _overlaps(file.metadata.row_group(i).column(place), first, last)]
    table = read_rows(file, kind, groups=groups)
    ids = table["trial_id"]
    return table.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last)))


def _overlaps(column: pq.ColumnChunkMetaData, first: str, last: str) -> bool:
    try:
        found = column.statistics
        return found is None or not found.has_min_max or (found.min <= last and first <= found.max)
    except ValueError:  # bounds that are no text; reading tells what is wrong
        return True


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
            f"name {shown(name)} must start with a letter or digit and hold only letters, digits, '.', '_' and '-', "
            f"at most {_MOST_LETTERS} of them; it has {len(name):,}"
        )
    return name
