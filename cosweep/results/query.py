"""SQL over the tables, through DuckDB."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cosweep.results.store import Store
from cosweep.results.views import Results

# A formula to a spreadsheet, and no number.
_FORMULA = re.compile(r"(?![+-]?[\d.]+(?:[eE][+-]?\d+)?$)\s*[=+\-@\t\r]")


def run_query(store: Store, sql: str) -> pa.Table:
    """Rows of a SQL statement over the views ``trials``, ``curves`` and ``snapshots``.

    The connection has no access to files, so a statement can read these views and nothing else.

    Raises:
        CosweepError: If the statement is wrong; names the columns that exist.
    """
    results = Results(store)
    try:
        relation = results.query(sql)
        return pa.table({}) if relation is None else _distinct_names(relation.to_arrow_table())
    except duckdb.Error as error:
        raise results.explained(error) from error
    finally:
        results.close()


def _distinct_names(table: pa.Table) -> pa.Table:
    """The table with ``_1``, ``_2`` behind names that came before, as in ``SELECT t.*, c.*``."""
    names: list[str] = []
    for name in table.column_names:
        free = (f"{name}_{i}" if i else name for i in range(len(names) + 1))
        names.append(next(candidate for candidate in free if candidate not in names))
    return table.rename_columns(names)


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: NaN as null, times as ISO text."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def to_json(table: pa.Table) -> bytes:
    """A JSON list of rows."""
    return (json.dumps(plain_rows(table), indent=1, default=str) + "\n").encode()


def to_csv(table: pa.Table) -> bytes:
    """CSV with a header line; a list is its JSON text, and a text that a spreadsheet would run begins with ``'``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, table.column_names))
    for row in plain_rows(table):
        writer.writerow(map(_cell, row.values()))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, default=str)
    if not isinstance(value, str):
        return value
    text = re.sub("\r\n?", "\n", value)  # a bare return would begin a row of its own
    return f"'{text}" if _FORMULA.match(value) else text


def to_parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, datetime) else value
