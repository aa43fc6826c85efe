"""Checksums of whole files: no flipped bit changes what a reader sees, and other readers read the files as before."""

from __future__ import annotations

import io
import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosweep.results.compaction import compact_sweep
from cosweep.results.schema import TABLES, table_from_rows
from cosweep.results.seal import SEALED_KEY, seal
from cosweep.results.store import Store
from cosweep.results.tables import FRAGMENT, UnreadableError, open_parquet, parquet_writer, read_rows
from tests.results.rows import broken_row, curve, snapshot_rows

ROWS = {"trials": [broken_row("a")], "curves": curve(), "snapshots": snapshot_rows(("before", 5), ("after", 24))}
LATER = {"workers", "curvature", "box_low"}
"""Some columns that files of an earlier cosweep lack."""


def rows_of(kind: str) -> pa.Table:
    return table_from_rows([{"trial_id": "a", **row} for row in ROWS[kind]], TABLES[kind])


def sealed(kind: str) -> bytes:
    """A trial's own file."""
    file = io.BytesIO()
    with parquet_writer(file, rows_of(kind).schema, FRAGMENT) as out:
        out.write_table(rows_of(kind))
    return file.getvalue()


def unsealed(table: pa.Table) -> io.BytesIO:
    """The same as it was written before there were seals."""
    file = io.BytesIO()
    pq.write_table(table, file, **FRAGMENT)
    return file


def read(content: bytes, kind: str) -> pa.Table:
    return read_rows(open_parquet(pa.BufferReader(content), kind), kind)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kind", TABLES)
def test_every_flipped_bit_of_a_file_is_noticed(kind: str) -> None:
    content = sealed(kind)
    assert read(content, kind).equals(rows_of(kind))
    for bit in random.Random(0).sample(range(8 * len(content)), 1500):
        with pytest.raises(UnreadableError, match=r"."):
            read(flipped(content, bit), kind)


def test_a_flipped_bit_changes_nothing_that_is_read_from_a_compacted_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in "abc":
        store.write_trial("s", broken_row(name), curve())
    compact_sweep(store, "s")
    (row,) = store.partition("trials", "s").trial("b")
    path = tmp_path / "trials/sweep=s/compacted.parquet"
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 300):
        path.write_bytes(flipped(content, bit))
        again = Store(tmp_path)
        alone = again.partition("trials", "s").trial("b")
        assert alone == [row] or (alone == [] and len(again.bad_files) == 1)
        assert again.trials("s").num_rows == 0
        assert [bad.path for bad in again.bad_files] == [str(path)]


def test_other_readers_read_a_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(sealed("curves"))
    assert pq.read_table(path)["step"].to_pylist() == [11, 22, 33]
    assert duckdb.sql(f"SELECT sum(step) FROM '{path}'").fetchall() == [(66,)]


def test_a_seal_that_was_taken_out_is_missed() -> None:
    content = sealed("trials")
    table = pq.read_table(io.BytesIO(content))
    assert table.schema.metadata[SEALED_KEY] == b"1"
    bare = unsealed(table)
    with pytest.raises(UnreadableError, match="its checksum is not in its place"):
        read(bare.getvalue(), "trials")
    seal(bare)
    assert read(bare.getvalue(), "trials").equals(read(content, "trials"))


@pytest.mark.parametrize("kind", TABLES)
def test_a_file_of_before_there_were_seals_reads_unless_it_lacks_a_column_that_all_have(kind: str) -> None:
    table = rows_of(kind)
    assert read(unsealed(table).getvalue(), kind).equals(table)
    for name in table.column_names:
        lacking = unsealed(table.rename_columns([f"{n}x" if n == name else n for n in table.column_names]))
        if name in LATER:
            assert len(read(lacking.getvalue(), kind)) == len(table)
        elif name in {"trial_id", "step", "pgd_acc", "finished_at", "moment", "original"}:
            with pytest.raises(UnreadableError, match=f"no table.*{name}"):
                read(lacking.getvalue(), kind)
