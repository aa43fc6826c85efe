"""Compaction: the same rows in fewer files, whoever reads, writes or dies meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from cosweep.errors import CosweepError
from cosweep.results import compaction
from cosweep.results.compaction import Compacted, compact_sweep
from cosweep.results.files import LocalFiles
from cosweep.results.partition import Partition
from cosweep.results.query import run_query
from cosweep.results.schema import SCHEMA_VERSION, TABLES, VERSION_KEY
from cosweep.results.store import Store
from tests.results.rows import broken_row, curve, measured_curve, old_table, snapshot_rows, trial_row

Rows = dict[str, list[str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three finished trials, one with diagnostics and snapshots, and one that failed."""
    made = Store(tmp_path / "results")
    made.create()
    made.write_trial("s", trial_row("a", noise_scale=2.0), curve())
    made.write_trial("s", broken_row("b"), measured_curve(), snapshot_rows(("before", 5), ("after", 24)))
    made.write_trial("s", trial_row("c", method_steps=10), curve(5))
    made.write_trial("s", trial_row("failed", status="failed", state=None, co=None), curve(1))
    return made


def rows_of(store: Store) -> Rows:
    """All rows of all tables, in one order."""
    tables = {kind: getattr(store, kind)().to_pylist() for kind in TABLES}
    return {kind: sorted(map(plain, rows)) for kind, rows in tables.items()}


def plain(row: dict[str, Any]) -> str:
    """A row as text, since NaN is not equal to itself; without the columns that have no value."""
    return repr({name: value for name, value in sorted(row.items()) if value is not None})


def names(store: Store, kind: str, sweep: str = "s") -> list[str]:
    return list(store.files.names(f"{kind}/sweep={sweep}"))


# --- what it does ----------------------------------------------------------------------------------------------------


def test_a_compacted_store_has_the_same_rows_in_fewer_files(store: Store) -> None:
    before = rows_of(store)
    done = compact_sweep(store, "s")
    assert rows_of(store) == before
    for kind in ("trials", "curves"):
        assert names(store, kind) == ["compacted.parquet", "failed.parquet"]
    assert names(store, "snapshots") == ["compacted.parquet"]
    assert [(one.kind, one.files) for one in done] == [("curves", (4, 2)), ("snapshots", (1, 1)), ("trials", (4, 2))]
    assert all(one.size[0] > 0 and one.size[1] > 0 for one in done)
    assert store.bad_files == []


def test_compacting_again_changes_no_file(store: Store, tmp_path: Path) -> None:
    compact_sweep(store, "s")
    files = {path: path.stat() for path in tmp_path.rglob("*.parquet")}
    compact_sweep(store, "s")
    assert {path: path.stat() for path in tmp_path.rglob("*.parquet")} == files


def test_later_trials_join_the_compacted_ones(store: Store) -> None:
    compact_sweep(store, "s")
    store.write_trial("s", trial_row("aa", other_option="x"), curve(), snapshot_rows(("end", 9)))
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    assert names(store, "trials") == ["compacted.parquet", "failed.parquet"]


def test_each_trial_is_found_alone(store: Store) -> None:
    def found() -> list[str]:
        trials = [store.trial("s", trial_id) for trial_id in ("a", "b", "c", "failed")]
        return [plain(row) for trial, probes in trials for row in (trial, *probes)]

    before = found()
    compact_sweep(store, "s")
    assert found() == before
    with pytest.raises(CosweepError, match="no row of trial bb of sweep s"):
        store.trial("s", "bb")


def test_rows_are_ordered_and_the_file_says_its_schema(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("0"), curve()[::-1])
    compact_sweep(store, "s")
    file = pq.ParquetFile(tmp_path / "results/curves/sweep=s/compacted.parquet")
    assert file.schema_arrow.metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    told = [(row["trial_id"], row["step"]) for row in file.read().to_pylist()]
    assert told == sorted(told)
    assert [trial_id for trial_id, _ in told[:4]] == ["0", "0", "0", "a"]


def test_a_store_of_many_blocks_keeps_its_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_AT_ONCE", dict.fromkeys(TABLES, 2))
    for number in range(9):
        store.write_trial("s", trial_row(f"0{number}"), curve(), snapshot_rows(("end", number)))
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    store.write_trial("s", trial_row("041"), curve())
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    assert store.trial("s", "041")[0]["trial_id"] == "041"


def test_other_tools_see_compacted_trials(store: Store, tmp_path: Path) -> None:
    compact_sweep(store, "s")
    pattern = f"{tmp_path}/results/trials/sweep=*/*.parquet"
    sql = f"SELECT count(*), min(sweep) FROM read_parquet('{pattern}', hive_partitioning=true, union_by_name=true)"
    assert duckdb.sql(sql).fetchall() == [(4, "s")]
    assert pads.dataset(tmp_path / "results/curves", partitioning="hive").count_rows() == 12


def test_columns_of_different_types_and_versions_merge(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("d", some_option=100), [])
    store.write_trial("s", trial_row("e", some_option="never"), [])
    old = old_table("old", seed=7)
    old = old.set_column(old.column_names.index("seed"), "seed", pa.array([7], pa.int32()))
    pq.write_table(old, tmp_path / "results/trials/sweep=s/old.parquet")
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    found = {row["trial_id"]: row for row in store.trials().to_pylist()}
    assert [found[i]["some_option"] for i in "ade"] == [None, "100", "never"]
    assert (found["old"]["seed"], found["old"]["box_low"]) == (7, None)


def test_a_trial_written_after_it_was_compacted_wins(store: Store) -> None:
    compact_sweep(store, "s")
    store.write_trial("s", trial_row("b", steps=99), curve(1))
    assert {row["trial_id"]: row["steps"] for row in store.trials().to_pylist()}["b"] == 99
    assert store.trial("s", "b")[0]["steps"] == 99
    assert [row["step"] for row in store.curves().to_pylist() if row["trial_id"] == "b"] == [11]
    assert store.snapshots().num_rows == 0
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    assert names(store, "snapshots") == ["compacted.parquet"]


def test_a_trial_that_failed_after_it_was_compacted_wins(store: Store) -> None:
    compact_sweep(store, "s")
    store.write_trial("s", trial_row("a", status="failed"), [])
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    assert "a.parquet" in names(store, "trials")


def test_a_trial_that_is_being_written_is_left_alone(store: Store, tmp_path: Path) -> None:
    os.remove(tmp_path / "results/trials/sweep=s/a.parquet")
    compact_sweep(store, "s")
    assert names(store, "curves") == ["a.parquet", "compacted.parquet", "failed.parquet"]


def test_the_name_of_the_compacted_file_is_no_trial(store: Store) -> None:
    with pytest.raises(CosweepError, match="cannot have the id 'compacted'"):
        store.write_trial("s", trial_row("compacted"), curve())


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_damaged_fragment_is_named_and_stays(store: Store, tmp_path: Path) -> None:
    damaged = tmp_path / "results/curves/sweep=s/a.parquet"
    damaged.write_bytes(b"PAR1")
    compact_sweep(store, "s")
    assert [bad.path for bad in store.bad_files] == [str(damaged)]
    assert damaged.read_bytes() == b"PAR1"
    assert store.trials().num_rows == 4


@pytest.mark.parametrize("damage", ["footer", "page"])
def test_a_damaged_compacted_file_is_named_and_never_replaced(store: Store, tmp_path: Path, damage: str) -> None:
    compact_sweep(store, "s")
    path = tmp_path / "results/trials/sweep=s/compacted.parquet"
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(0).column(0).dictionary_page_offset + 40
    content[slice(-8, None) if damage == "footer" else slice(place, place + 4)] = b"\0" * (
        8 if damage == "footer" else 4
    )
    path.write_bytes(content)
    store.write_trial("s", trial_row("d"), curve())
    again = Store(store.location)
    compact_sweep(again, "s")
    assert [bad.path for bad in again.bad_files] == [str(path)]
    assert "not compacted" in again.bad_files[0].problem
    assert path.read_bytes() == content
    assert again.trials()["trial_id"].to_pylist() == ["d", "failed"]


def test_nothing_is_removed_if_the_file_reads_back_otherwise(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def forgetful(self: LocalFiles, path: str) -> Iterator[Any]:
        with (self.folder / "elsewhere").open("w+b") as file:
            yield file
        (self.folder / path).write_bytes((self.folder / "short.parquet").read_bytes())

    store.files.write("short.parquet", (store.files.read("curves/sweep=s/a.parquet")))
    before = rows_of(store)
    monkeypatch.setattr(LocalFiles, "replacing", forgetful)
    with pytest.raises(CosweepError, match="reads back otherwise"):
        compact_sweep(store, "s")
    assert rows_of(store) == before


def test_a_full_disk_loses_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows_of(store)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(CosweepError, match=r"nothing is lost.*No space left"):
        compact_sweep(store, "s")
    monkeypatch.undo()
    assert rows_of(store) == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_a_killed_compaction_left_is_removed_a_day_later(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "results/trials/sweep=s"
    old, new = (folder / f".compacted.parquet.{name}.tmp" for name in ("old", "new"))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    compact_sweep(store, "s")
    assert (old.exists(), new.exists()) == (False, True)


# --- at the same time ------------------------------------------------------------------------------------------------


def test_a_second_compaction_is_refused_while_one_runs(store: Store) -> None:
    busy = rf"another compaction works on .*: process {os.getpid()} on"
    with store.files.exclusive("compaction", 600), pytest.raises(CosweepError, match=busy):
        compact_sweep(Store(store.location), "s")
    compact_sweep(store, "s")


def test_a_trial_written_anew_while_it_is_compacted_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = compaction._remove

    def write_then_remove(partition: Partition, *rest: Any) -> None:
        if partition.kind == "curves":
            store.write_trial("s", trial_row("a", steps=99), curve(7))
        remove(partition, *rest)

    monkeypatch.setattr(compaction, "_remove", write_then_remove)
    compact_sweep(store, "s")
    assert store.trial("s", "a")[0]["steps"] == 99
    assert len(store.trial("s", "a")[1]) == 7
    assert sorted(store.trials()["trial_id"].to_pylist()) == ["a", "b", "c", "failed"]


def test_a_death_between_publishing_and_removing_counts_no_trial_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(store)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compaction, "_remove", die)
    with pytest.raises(KeyboardInterrupt):
        compact_sweep(store, "s")
    assert len(names(store, "trials")) == 5
    assert rows_of(store) == before
    monkeypatch.undo()
    compact_sweep(store, "s")
    assert len(names(store, "trials")) == 2
    assert rows_of(store) == before


@pytest.mark.parametrize("kind", list(TABLES))
def test_a_reader_overtaken_by_compaction_sees_each_trial_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    before = rows_of(store)
    listed = Partition.fragments

    def list_then_compact(self: Partition) -> Any:
        found = listed(self)
        if self.kind == kind:
            monkeypatch.setattr(Partition, "fragments", listed)
            compact_sweep(Store(store.location), "s")
        return found

    monkeypatch.setattr(Partition, "fragments", list_then_compact)
    assert sorted(map(plain, getattr(store, kind)().to_pylist())) == before[kind]
    assert names(store, "trials") == ["compacted.parquet", "failed.parquet"]


def test_files_that_keep_vanishing_end_in_a_message(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: LocalFiles, path: str, most: int) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(LocalFiles, "read", gone)
    with pytest.raises(CosweepError, match="keep vanishing"):
        store.trials()


# --- a law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_order_of_operations_the_rows_are_those_last_written(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    store = Store(tmp_path)
    model: dict[tuple[str, str], tuple[int, int, int]] = {}
    for number in range(50):
        sweep, trial_id = rng.choice("st"), rng.choice("abcdef")
        if rng.random() < 0.25:
            compact_sweep(store, sweep)
            continue
        status, probes, moments = rng.choice(["completed", "stopped", "failed"]), rng.randrange(4), rng.randrange(3)
        shots = snapshot_rows(*(("end", step) for step in range(moments)))
        store.write_trial(sweep, trial_row(trial_id, status=status, steps=number), curve(probes), shots or None)
        model[sweep, trial_id] = (number, probes, 2 * moments)
    seen = {(row["sweep"], row["trial_id"]): [row["steps"], 0, 0] for row in store.trials().to_pylist()}
    for place, kind in ((1, "curves"), (2, "snapshots")):
        for row in getattr(store, kind)().to_pylist():
            seen[row["sweep"], row["trial_id"]][place] += 1
    assert {key: tuple(found) for key, found in seen.items()} == model
    assert store.trials().num_rows == len(model)
    counted = run_query(store, "SELECT count(*) AS n FROM trials t JOIN curves c USING (sweep, trial_id)")
    assert counted.to_pylist() == [{"n": sum(probes for _, probes, _ in model.values())}]


def test_what_was_done_is_told(store: Store) -> None:
    told: list[tuple[str, int, int]] = []
    done = compact_sweep(store, "s", lambda *step: told.append(step))
    assert isinstance(done[0], Compacted)
    assert {what for what, _, _ in told} == {
        f"s: {verb} {kind}" for verb in ("merging", "removing merged files of") for kind in TABLES
    }
    assert all(0 < now <= of for _, now, of in told)
