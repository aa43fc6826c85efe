"""SQL over the tables, through DuckDB."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date
from datetime import time as clock
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cosweep.errors import CosweepError
from cosweep.results.store import Store
from cosweep.results.views import Results

# A formula to a spreadsheet, and no number.
_FORMULA = re.compile(r"(?![+-]?[\d.]+(?:[eE][+-]?\d+)?$)\s*[=+\-@\t\r]")


def run_query(store: Store, sql: str) -> pa.Table:
    """Rows of a SQL statement over the views, see :class:`cosweep.results.views.Results`.

    The connection has no access to files, so a statement can read these views and nothing else.

    Raises:
        CosweepError: If the statement is wrong, with the columns that exist; if it is not one that gives rows.
        KeyboardInterrupt: Soon after Ctrl-C, however long the statement would take.
    """
    results = Results(store)
    try:
        statement = results.load(sql)
        if not _gives_rows(statement):
            kind = statement.type.name
            raise CosweepError(f"a query only reads, as SELECT does; it cannot {kind}, and nothing was changed")
        return _distinct_names(_interruptible(lambda: results.query(sql).to_arrow_table(), results.interrupt))
    except duckdb.Error as error:
        raise results.explained(error) from error
    finally:
        results.close()


def _gives_rows(statement: duckdb.Statement) -> bool:
    """Whether it only reads. PIVOT is several statements to DuckDB, of which the last gives the rows."""
    if statement.type == duckdb.StatementType.MULTI:
        return True
    return list(statement.expected_result_type) == [duckdb.ExpectedResultType.QUERY_RESULT]


def _interruptible(work: Callable[[], pa.Table], interrupt: Callable[[], None]) -> pa.Table:
    """What the work gives. DuckDB holds the thread it runs in, which so would not hear of Ctrl-C until the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # again, should it only begin now
                interrupt()
                wait([future], 0.1)
            raise


def _distinct_names(table: pa.Table) -> pa.Table:
    """The table with ``_1``, ``_2`` behind names that came before, as in ``SELECT t.*, c.*``."""
    names: list[str] = []
    for name in table.column_names:
        free = (f"{name}_{i}" if i else name for i in range(len(names) + 1))
        names.append(next(candidate for candidate in free if candidate not in names))
    return table.rename_columns(names)


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of texts, numbers, lists and mappings: NaN is None, times are ISO text.

    Raises:
        CosweepError: If Python cannot hold a value, such as a date of the year 99999; names the column.
    """
    columns = {name: _values(name, table[name]) for name in table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        return [_plain(value) for value in column.to_pylist()]
    except (OverflowError, ValueError) as error:
        raise CosweepError(
            f"column {name} has a value that cannot be printed as {column.type} ({error}); "
            f"have the statement give it as text: CAST({name} AS VARCHAR)"
        ) from error


def to_json(table: pa.Table) -> bytes:
    """A JSON list of rows; null for NaN and infinities, which JSON lacks."""
    return (_json(plain_rows(table), indent=1) + "\n").encode()


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=str)


def to_csv(table: pa.Table) -> bytes:
    """CSV with a header line.

    A list or a struct is its JSON text, an infinity ``inf``, NaN an empty cell; a text that a spreadsheet would run
    begins with ``'``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, table.column_names))
    for row in plain_rows(table):
        writer.writerow(map(_cell, row.values()))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return _json(value)
    if not isinstance(value, str):
        return value
    text = re.sub("\r\n?", "\n", value)  # a bare return would begin a row of its own
    return f"'{text}" if _FORMULA.match(value) else text


def to_parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file.

    Raises:
        CosweepError: If Parquet has no such type as a column is of; names the column.
    """
    for name in table.column_names:
        try:
            pq.write_table(table.select([name]).slice(0, 0), pa.BufferOutputStream())
        except pa.ArrowNotImplementedError as error:
            raise CosweepError(
                f"column {name} is of type {table[name].type}, which Parquet lacks; "
                f"have the statement give it as text: CAST({name} AS VARCHAR)"
            ) from error
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, pa.MonthDayNano):
        return f"P{value.months}M{value.days}DT{value.nanoseconds / 1e9:g}S"
    if isinstance(value, list | tuple):  # a map is a list of pairs
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | clock) else value


def _finite(value: Any) -> Any:
    """Plain data with None for the infinities in it."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isinf(value) else value
