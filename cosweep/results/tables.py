"""Parquet files as tables: what makes a file unfit, and how tables of different columns go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosweep.metrics import TrialStatus
from cosweep.results.schema import SCHEMA_VERSION, TABLES, VERSION_KEY

_CHECKED = {"write_page_checksum": True}
FRAGMENT: dict[str, Any] = _CHECKED | {"compression": "snappy", "use_dictionary": False, "write_statistics": False}
"""How a trial's own files are written. Their few rows are read three times as fast as with zstd and dictionaries."""
COMPACTED: dict[str, Any] = _CHECKED | {"compression": "zstd"}
"""How many trials' rows are written."""

_TYPES = {kind: {column.name: column.type for column in columns} for kind, columns in TABLES.items()}


class UnreadableError(Exception):
    """A file that is there but does not hold rows of its table; the message says why."""


def open_parquet(source: pa.NativeFile) -> pq.ParquetFile:
    """A Parquet file of this version of the schema or an older one.

    Raises:
        UnreadableError: If it is another file.
    """
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        schema = file.schema_arrow
        version, names = int((schema.metadata or {}).get(VERSION_KEY, b"1")), schema.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if version > SCHEMA_VERSION:
        raise UnreadableError(newer(version))
    if len(set(names)) < len(names) or "trial_id" not in names:
        raise UnreadableError(f"is no table of trials; its columns are {', '.join(names) or 'none'}")
    return file


def read_rows(
    file: pq.ParquetFile, kind: str, columns: Iterable[str] | None = None, groups: Sequence[int] | None = None
) -> pa.Table:
    """Rows of an open file, documented columns in their types.

    Args:
        file: From :func:`open_parquet`.
        kind: ``trials``, ``curves`` or ``snapshots``.
        columns: Only these, as far as they are there.
        groups: Only these row groups.

    Raises:
        UnreadableError: If a page is damaged, or a column holds something else than documented.
    """
    wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
    try:
        # Threads cost more than they save on the few rows of one trial.
        few = file.metadata.num_rows < 10_000
        groups = range(file.num_row_groups) if groups is None else groups
        table = file.read_row_groups(groups, wanted, use_threads=not few)
        return _typed(table, kind)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error


def _typed(table: pa.Table, kind: str) -> pa.Table:
    if "trial_id" in table.column_names and table["trial_id"].null_count:
        raise ValueError("holds rows without a trial_id")
    types = _TYPES[kind]
    for place, field in enumerate(table.schema):
        wanted = types.get(field.name, field.type)
        if field.type != wanted:
            table = table.set_column(place, field.name, table.column(place).cast(wanted))
    return table


def check_trial(row: Mapping[str, Any]) -> None:
    """A trial must have ended in a known way at a known time, and if it broke, at a step; old files lack columns.

    Raises:
        UnreadableError: If it did not.
    """
    absent = [name for name in ("started_at", "finished_at") if row.get(name, "") is None]
    absent += [name for name in ("co_step", "co_epoch") if row.get("co") and row.get(name) is None]
    if absent:
        raise UnreadableError(f"holds a trial without {absent[0]}")
    if row.get("status") not in set(TrialStatus):
        raise UnreadableError(f"holds a trial of unknown status {row.get('status')!r}")


def empty_table(kind: str, columns: Iterable[str] | None = None) -> pa.Table:
    """No rows; all documented columns, or some."""
    types = _TYPES[kind]
    return pa.schema([(name, types[name]) for name in columns or types]).empty_table()


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
