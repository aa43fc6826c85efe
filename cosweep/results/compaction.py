"""Merging the small files of finished trials into one file for each table and sweep.

Compaction may be killed at any moment without loss: it publishes the merged file whole, and reads it back, before it
removes a fragment. A fragment that is written anew meanwhile stays, and wins over what was merged; it would be lost
only if written between the last look at the old one and its removal, and then the trial's earlier rows remain. Failed
trials keep their files, since they may run again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.results.files import Stamp
from cosweep.results.partition import Partition, chunks, hidden, merged, rows_between, told, unsound_ids
from cosweep.results.store import Store
from cosweep.results.tables import (
    COMPACTED,
    UnreadableError,
    concatenate,
    empty_table,
    parquet_writer,
    read_rows,
    unified,
)

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many files it is done to, and out of how many."""

# The row comes last, as when a trial is written: a trial that counts has all its tables.
_ORDER = ("curves", "snapshots", "trials")
# Trials merged at a time. They make a row group: small enough to find one trial in, and to hold in memory.
_AT_ONCE = {"curves": 200, "snapshots": 50, "trials": 1000}
_REMOVERS = 8
LOCK_SECONDS = 600.0
"""After this long without a sign of life in a bucket a compaction is taken for killed."""


@dataclass(frozen=True)
class Compacted:
    """What compaction did to one table of one sweep.

    Attributes:
        sweep, kind: Which.
        files: How many there were before and are now.
        size: Their bytes before and now.
        seconds: That it took.
    """

    sweep: str
    kind: str
    files: tuple[int, int]
    size: tuple[int, int]
    seconds: float


def compact_sweep(store: Store, sweep: str, progress: Progress = lambda *_: None) -> list[Compacted]:
    """Merge the files of a sweep's finished trials; it may be running and be read meanwhile.

    Files that cannot be read stay as they are and become ``store.bad_files``.

    Raises:
        CosweepError: If another compaction is under way, or the location cannot be written.
    """
    partitions = [store.partition(kind, sweep) for kind in _ORDER]
    try:
        with store.files.exclusive("compaction", LOCK_SECONDS) as alone:
            finished = _finished(store.partition("trials", sweep))
            clocks = [_Clock(partition) for partition in partitions]
            merged_files = []
            for partition, clock in zip(partitions, clocks, strict=True):
                with clock:
                    merged_files.append(_merge(partition, finished, alone, progress))
            for partition, clock, stamps in zip(partitions, clocks, merged_files, strict=True):
                with clock:
                    _remove(partition, stamps, alone, progress)
            return [clock.told() for clock in clocks]
    except OSError as error:
        raise CosweepError(f"compaction of {sweep} in {store.location} stopped, nothing is lost: {error}") from error


class _Clock:
    """Time, files and bytes of the work on one table."""

    def __init__(self, partition: Partition) -> None:
        self._partition, self._seconds = partition, 0.0
        self._before = self._measure()

    def _measure(self) -> tuple[int, int]:
        stamps = self._partition.files.names(self._partition.folder).values()
        return len(stamps), sum(stamp.size for stamp in stamps)

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds += time.perf_counter() - self._started

    def told(self) -> Compacted:
        (files, size), (files_now, size_now) = self._before, self._measure()
        found = self._partition
        return Compacted(found.sweep, found.kind, (files, files_now), (size, size_now), self._seconds)


def _finished(trials: Partition) -> set[str]:
    """Trials that will not run again."""
    rows = trials.read()
    return set(rows.filter(pc.not_equal(rows["status"], TrialStatus.FAILED))["trial_id"].to_pylist())


def _merge(partition: Partition, finished: Set[str], alone: Callable[[], None], progress: Progress) -> dict[str, Stamp]:
    """Put the fragments of finished trials into the compacted file; returns which, in the version that was read."""
    fragments = {i: stamp for i, stamp in partition.fragments().items() if i in finished}
    if not fragments:
        return {}
    try:
        written = _publish(partition, fragments.keys(), alone, progress)
    except UnreadableError as error:  # that of a fragment is noted where it is read
        partition.note(partition.compacted_path, f"{error}; not compacted, since what it held would be lost")
        return {}
    return {i: fragments[i] for i in written}


def _publish(partition: Partition, fragments: Set[str], alone: Callable[[], None], progress: Progress) -> set[str]:
    """Write the compacted file anew with the fragments' rows; returns whose."""
    kind = partition.kind
    old = partition.from_compacted(lambda file: file, whole=True)
    everyone = sorted({*fragments, *(_held(old, kind) if old else ())})
    schemas = [empty_table(kind).schema, *([old.schema_arrow] if old else []), *partition.schemas(fragments)]
    schema = unified(schemas)
    written: set[str] = set()
    held: Counter[str] = Counter()
    with (
        partition.files.replacing(partition.compacted_path) as file,
        parquet_writer(file, schema, COMPACTED) as out,
    ):
        for some in chunks(everyone, _AT_ONCE[kind]):
            found = partition.read_fragments([i for i in some if i in fragments])
            if found.gone:
                raise CosweepError(f"{partition.folder}: files vanish while they are compacted; nothing is lost")
            kept = rows_between(old, kind, some[0], some[-1]) if old else empty_table(kind)
            kept = hidden(kept, found)
            if wrong := unsound_ids(kept, kind):
                raise UnreadableError(told(wrong))
            rows = _in_order(concatenate([schema.empty_table(), merged(kept, found)]))
            if len(rows):
                out.write_table(rows)
            written |= found.trials
            held.update(rows["trial_id"].to_pylist())
            progress(f"{partition.sweep}: merging {kind}", len(written), len(fragments))
        alone()
    if partition.from_compacted(lambda file: _held(file, kind), whole=True) != held:
        raise CosweepError(f"{partition.compacted_path} reads back otherwise than written; no file was removed")
    return written


def _in_order(rows: pa.Table) -> pa.Table:
    keys = [name for name in ("trial_id", "step") if name in rows.column_names]
    return rows.sort_by([(name, "ascending") for name in keys])


def _held(file: pq.ParquetFile, kind: str) -> Counter[str]:
    """Rows of each trial in a compacted file, every page of which is read."""
    held: Counter[str] = Counter()
    for group in range(file.num_row_groups):
        held.update(read_rows(file, kind, groups=[group])["trial_id"].to_pylist())
    return held


def _remove(partition: Partition, stamps: Mapping[str, Stamp], alone: Callable[[], None], progress: Progress) -> None:
    """Remove fragments, but those that were written anew since they were read."""

    def remove(trial_id: str) -> None:
        path = partition.path(trial_id)
        if partition.files.stamp(path) == stamps[trial_id]:
            partition.files.delete(path)

    removed = 0
    with ThreadPoolExecutor(_REMOVERS) as pool:
        for some in chunks(stamps, 500):
            alone()
            removed += len(list(pool.map(remove, some)))
            progress(f"{partition.sweep}: removing merged files of {partition.kind}", removed, len(stamps))
