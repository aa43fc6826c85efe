"""Parquet files as tables: what makes a file unfit, and how tables of different columns go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosweep.metrics import TrialState, TrialStatus
from cosweep.results.schema import FIRST_COLUMNS, OUTCOME_COLUMNS, SCHEMA_VERSION, SWEEP_COLUMN, TABLES, VERSION_KEY
from cosweep.results.seal import SEALED_KEY, check_seal, seal

_CHECKED = {"write_page_checksum": True}
FRAGMENT: dict[str, Any] = _CHECKED | {"compression": "snappy", "use_dictionary": False, "write_statistics": False}
"""How a trial's own files are written. Their few rows are read three times as fast as with zstd and dictionaries."""
COMPACTED: dict[str, Any] = _CHECKED | {"compression": "zstd"}
"""How many trials' rows are written."""

_TYPES = {kind: {column.name: column.type for column in columns} for kind, columns in TABLES.items()}
_TRIAL_NEEDS = ("status", "epsilon", "started_at", "finished_at")
_RESULT_NEEDS = ("state", "co", "steps")
_BROKEN_NEEDS = ("co_step", "co_step_low", "co_step_high", "co_epoch")
_PLAIN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class UnreadableError(Exception):
    """A file that is there but does not hold rows of its table; the message says why."""


@contextmanager
def parquet_writer(file: BinaryIO, schema: pa.Schema, options: dict[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Context with a writer of a file of this version of the schema, which is sealed at the end.

    Args:
        file: Empty, open for reading and writing.
        schema: Of the rows.
        options: ``FRAGMENT`` or ``COMPACTED``.
    """
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode(), SEALED_KEY: b"1"}
    with pq.ParquetWriter(file, schema.with_metadata(metadata), **options) as out:
        yield out
    seal(file)


def open_parquet(source: pa.NativeFile, kind: str, *, whole: bool = True) -> pq.ParquetFile:
    """A Parquet file of this version of the schema or an older one.

    Args:
        source: The file.
        kind: ``trials``, ``curves`` or ``snapshots``.
        whole: Whether to hold all of it against its checksum; its footer alone otherwise.

    Raises:
        UnreadableError: If it is another file.
    """
    try:
        sealed = check_seal(source, whole=whole)
        file = pq.ParquetFile(source, page_checksum_verification=True)
        schema = file.schema_arrow
        metadata = schema.metadata or {}
        version = int(metadata.get(VERSION_KEY, b"1"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if version > SCHEMA_VERSION:
        raise UnreadableError(newer(version))
    if SEALED_KEY in metadata and not sealed:
        raise UnreadableError("it is damaged: its checksum is not in its place")
    _check_columns(schema, kind)
    return file


def _check_columns(schema: pa.Schema, kind: str) -> None:
    names = schema.names
    if len(set(names)) < len(names) or "trial_id" not in names:
        raise UnreadableError(f"is no table of trials; its columns are {', '.join(names) or 'none'}")
    if lacking := FIRST_COLUMNS[kind] - set(names):
        raise UnreadableError(f"is no table of {kind}, or is damaged: it has no column {', '.join(sorted(lacking))}")
    if SWEEP_COLUMN.name in names:
        raise UnreadableError(f"has a column {SWEEP_COLUMN.name}, which is the name of its folder")
    if not pa.types.is_string(schema.field("trial_id").type):
        raise UnreadableError("its trial_id is no text")
    for field in schema:
        item = field.type.value_type if pa.types.is_list(field.type) else field.type
        if field.name not in _TYPES[kind] and not any(is_kind(item) for is_kind in _PLAIN):
            raise UnreadableError(f"its column {field.name} holds {field.type}, which no trial leaves")


def read_rows(file: pq.ParquetFile, kind: str, groups: Sequence[int] | None = None) -> pa.Table:
    """Rows of an open file, documented columns in their types.

    Args:
        file: From :func:`open_parquet`.
        kind: ``trials``, ``curves`` or ``snapshots``.
        groups: Only these row groups.

    Raises:
        UnreadableError: If a page is damaged, or a column holds something else than documented.
    """
    try:
        # Threads cost more than they save on the few rows of one trial.
        few = file.metadata.num_rows < 10_000
        groups = range(file.num_row_groups) if groups is None else groups
        table = file.read_row_groups(groups, use_threads=not few)
        table.validate(full=True)  # texts that are no UTF-8, above all
        return _typed(table, kind)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error


def _typed(table: pa.Table, kind: str) -> pa.Table:
    if table["trial_id"].null_count:
        raise ValueError("holds rows without a trial_id")
    types = _TYPES[kind]
    for place, field in enumerate(table.schema):
        wanted = types.get(field.name, field.type)
        if field.type != wanted:
            table = table.set_column(place, field.name, table.column(place).cast(wanted))
    return table


def unsound(rows: pa.Table, kind: str) -> dict[str, str]:
    """Trials with rows that no trial leaves, and what is wrong with them.

    Args:
        rows: Whole rows from :func:`read_rows`, of one file or of several.
        kind: ``trials``, ``curves`` or ``snapshots``.
    """
    found: dict[str, str] = {}
    if not len(rows):
        return found
    wrongs = {"trials": _wrong_trials, "curves": _wrong_probes, "snapshots": _wrong_snapshots}[kind]
    for problem, wrong in wrongs(rows):
        if pc.any(wrong).as_py():
            for trial_id in pc.unique(rows["trial_id"].filter(wrong)).to_pylist():
                found.setdefault(trial_id, problem)
    return found


_Wrongs = Iterator[tuple[str, pa.ChunkedArray]]


def _wrong_trials(rows: pa.Table) -> _Wrongs:
    """One row a trial, which ended in a known way at a known time, and if it broke, at a step."""
    counts = pc.value_counts(rows["trial_id"])
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    yield "holds several rows of a trial", pc.is_in(rows["trial_id"], repeated)
    yield from _unknown(rows, "status", set(TrialStatus))
    yield from _unknown(rows, "state", set(TrialState))
    result = pc.not_equal(rows["status"], TrialStatus.FAILED)
    for names, where in ((_TRIAL_NEEDS, None), (_RESULT_NEEDS, result), (_BROKEN_NEEDS, rows["co"])):
        for name in names:
            absent = pc.is_null(rows[name], nan_is_null=True)
            yield f"holds a trial without {name}", absent if where is None else pc.and_(absent, where)
    for field in rows.schema:
        column = rows[field.name]
        if pa.types.is_timestamp(field.type):
            outside = pc.or_(pc.less(column, _EARLIEST), pc.greater(column, _LATEST))
            yield f"holds a trial whose {field.name} is no date", outside
        elif pa.types.is_floating(field.type) and field.name not in OUTCOME_COLUMNS:
            yield f"holds a trial whose {field.name} is no number", pc.invert(pc.is_finite(column))


def _unknown(rows: pa.Table, name: str, known: set[Any]) -> _Wrongs:
    for value in pc.unique(rows[name]).to_pylist():
        if value is not None and value not in known:
            yield f"holds a trial of unknown {name} {value!r}", pc.equal(rows[name], value)


def _wrong_probes(rows: pa.Table) -> _Wrongs:
    yield "holds a probe without step", pc.is_null(rows["step"])


def _wrong_snapshots(rows: pa.Table) -> _Wrongs:
    """Three pictures of one shape."""
    for name in ("moment", "step", "example", "label", "shape"):
        yield f"holds a snapshot without {name}", pc.is_null(rows[name])
    shaped = pc.equal(pc.list_value_length(rows["shape"]), 3)
    yield "holds a snapshot of no shape", pc.invert(shaped)
    sizes = _sizes(rows["shape"])
    for name in ("original", "intervened", "delta"):
        fits = pc.equal(pc.list_value_length(rows[name]), sizes)
        yield f"holds a snapshot whose {name} is no picture of its shape", pc.invert(pc.fill_null(fits, False))


def _sizes(shapes: pa.ChunkedArray) -> pa.Array:
    """Number of pixels of each shape; null for what is none."""
    sizes = [
        s[0] * s[1] * s[2] if s and len(s) == 3 and None not in s and min(s) > 0 else None for s in shapes.to_pylist()
    ]
    return pa.array([size if size is not None and size < 2**31 else None for size in sizes], pa.int32())


def empty_table(kind: str) -> pa.Table:
    """No rows, all documented columns."""
    return pa.schema(_TYPES[kind].items()).empty_table()


def concatenate(tables: list[pa.Table]) -> pa.Table:
    """Rows of all tables; a column that one lacks is null there, one whose types do not go together becomes text."""
    schemas = list({table.schema: None for table in tables})
    clashing = _clashing(schemas)
    if clashing:
        tables = [_as_text(table, clashing) for table in tables]
    how = "default" if len(schemas) == 1 else "permissive"
    return pa.concat_tables(tables, promote_options=how).replace_schema_metadata(None)


def unified(schemas: list[pa.Schema]) -> pa.Schema:
    """Schema of the tables of these schemas together."""
    return concatenate([schema.empty_table() for schema in schemas]).schema


def _clashing(schemas: list[pa.Schema]) -> set[str]:
    types: dict[str, set[pa.DataType]] = {}
    for field in (field for schema in schemas for field in schema):
        types.setdefault(field.name, set()).add(field.type)
    return {name for name, found in types.items() if len(found) > 1 and not _go_together(found)}


def _go_together(types: set[pa.DataType]) -> bool:
    try:
        pa.unify_schemas([pa.schema([("", type_)]) for type_ in types], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _as_text(table: pa.Table, columns: set[str]) -> pa.Table:
    for name in columns.intersection(table.column_names):
        texts = pa.array([None if v is None else str(v) for v in table[name].to_pylist()], pa.string())
        table = table.set_column(table.column_names.index(name), name, texts)
    return table


def newer(version: int) -> str:
    """What to say of a file or a folder of a later schema."""
    return (
        f"was written by a newer cosweep (schema {version}; this one reads up to {SCHEMA_VERSION}); "
        "upgrade cosweep, or use another results folder"
    )
