"""The Parquet store: whole rows or none, one row a trial, names that stay below the root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosweep.errors import CosweepError
from cosweep.results.schema import CURVE_COLUMNS, SCHEMA_VERSION, TRIAL_COLUMNS
from cosweep.results.store import Store, check_name
from tests.results.rows import broken_row, curve, trial_row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.create()
    return made


def test_a_trial_reads_back_as_it_was_written(store: Store) -> None:
    store.write_trial("s", broken_row("a", co_step=17, noise_scale=2.0), curve())
    (row,) = store.trials("s").to_pylist()
    assert (row["trial_id"], row["sweep"], row["co_step"], row["noise_scale"]) == ("a", "s", 17, 2.0)
    assert [probe["step"] for probe in store.curves("s").to_pylist()] == [11, 22, 33]


def test_every_documented_column_is_there_with_its_type_even_without_a_value(store: Store) -> None:
    store.write_trial("s", {"trial_id": "a", "status": "failed"}, [])
    trials, curves = store.trials(), store.curves()
    assert {c.name: c.type for c in TRIAL_COLUMNS}.items() <= dict(
        zip(trials.schema.names, trials.schema.types)
    ).items()
    assert {c.name: c.type for c in CURVE_COLUMNS}.items() <= dict(
        zip(curves.schema.names, curves.schema.types)
    ).items()


def test_an_empty_store_gives_empty_tables_with_the_columns(store: Store) -> None:
    assert store.trials().num_rows == 0
    assert "co_step" in store.trials().column_names
    assert store.curves("none").num_rows == 0


def test_writing_a_trial_again_replaces_its_row(store: Store) -> None:
    store.write_trial("s", trial_row("a", status="failed"), [])
    store.write_trial("s", trial_row("a", status="completed"), curve())
    assert store.trials()["status"].to_pylist() == ["completed"]
    assert store.curves().num_rows == 3


def test_a_curve_without_its_row_is_not_shown(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    store.write_trial("s", trial_row("b"), curve())
    os.remove(tmp_path / "results/trials/sweep=s/b.parquet")
    assert set(store.curves()["trial_id"].to_pylist()) == {"a"}


def test_a_write_that_fails_leaves_the_old_row_and_no_rest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_trial("s", trial_row("a", steps=1), curve())

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        store.write_trial("s", trial_row("a", steps=2), curve())
    monkeypatch.undo()
    assert store.trials()["steps"].to_pylist() == [1]
    assert not list((tmp_path / "results").rglob("*.tmp"))


def test_a_half_written_file_aside_is_not_read(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    (tmp_path / "results/trials/sweep=s/.b.parquet.123.tmp").write_bytes(b"PAR1")
    assert store.trials()["trial_id"].to_pylist() == ["a"]
    assert store.bad_files == []


def test_a_corrupted_file_is_named_and_the_others_are_read(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    (tmp_path / "results/trials/sweep=s/b.parquet").write_bytes(b"not parquet")
    assert store.trials()["trial_id"].to_pylist() == ["a"]
    assert [Path(bad.path).name for bad in store.bad_files] == ["b.parquet"]


def test_trials_of_different_methods_share_a_table(store: Store) -> None:
    store.write_trial("s", trial_row("a", noise_scale=2.0), [])
    store.write_trial("s", trial_row("b", method_steps=10), [])
    rows = {row["trial_id"]: row for row in store.trials().to_pylist()}
    assert rows["a"]["noise_scale"] == 2.0
    assert rows["a"]["method_steps"] is None
    assert rows["b"]["method_steps"] == 10


def test_a_column_of_two_types_becomes_text_instead_of_an_unreadable_folder(store: Store) -> None:
    store.write_trial("s", trial_row("a", some_option=100), [])
    store.write_trial("t", trial_row("b", some_option="never"), [])
    store.write_trial("t", trial_row("c", some_option=None), [])
    assert {r["trial_id"]: r["some_option"] for r in store.trials().to_pylist()} == {
        "a": "100",
        "b": "never",
        "c": None,
    }


def test_a_row_that_cannot_be_stored_leaves_nothing(store: Store) -> None:
    with pytest.raises(OverflowError, match=r"too large|too big"):
        store.write_trial("s", trial_row("a", seed=10**30), curve())
    assert store.trials().num_rows == 0
    assert store._files("curves") == []


def test_a_folder_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cosweep.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(CosweepError, match="newer cosweep"):
        Store(tmp_path)


def test_a_file_of_a_newer_schema_is_refused(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    path = tmp_path / "results/trials/sweep=s/a.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.replace_schema_metadata({b"cosweep_schema_version": b"99"}), path)
    with pytest.raises(CosweepError, match="schema 99"):
        store.trials()


def test_an_older_file_without_a_column_still_reads(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "results/trials/sweep=s"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"trial_id": ["old"], "status": ["completed"]}), folder / "old.parquet")
    assert store.trials().to_pylist()[0]["data_hash"] is None


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "a b", "x" * 101, "a\n"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(CosweepError, match="must start with a letter or digit"):
        check_name(name)


def test_a_location_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CosweepError, match="is not a folder"):
        Store(tmp_path / "file" / "results").check_writable()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_unknown_sweep_is_refused_with_the_known_ones(store: Store) -> None:
    store.write_sweep("known", {"trial_ids": []})
    with pytest.raises(CosweepError, match="sweeps there: known"):
        store.sweep_record("other")
