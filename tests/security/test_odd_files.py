"""A received results folder in which something stands where a file or a folder should: no command waits or fails."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cosweep.cli.commands import app
from cosweep.errors import CosweepError
from cosweep.results.compaction import compact_sweep
from cosweep.results.store import Store

_PATIENCE = 30


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A command that waits for a pipe, or reads a device without end, fails its test."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"still at it after {_PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(_PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        descriptor = os.open(path.parent, os.O_RDONLY)  # the names of sockets are short
        opened.bind(f"/proc/self/fd/{descriptor}/{path.name}")
        os.close(descriptor)


ODD: dict[str, Callable[[Path], None]] = {
    "is a folder": Path.mkdir,
    "is a pipe": os.mkfifo,
    "is a socket": put_socket,
    "is a device by a link": lambda path: path.symlink_to("/dev/zero"),
    "is a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "is a link to itself": lambda path: path.symlink_to(path.name),
}


def put(root: Path, path: str, how: str) -> Path:
    whole = root / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.unlink(missing_ok=True)
    ODD[how](whole)
    return whole


def output_of(root: Path, *arguments: str) -> str:
    """Output of a command that ended as commands do: done, or with one message."""
    result = CliRunner().invoke(app, [*arguments, "--root", str(root)])
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


@pytest.fixture
def root(store: Store, tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("kind", ["trials", "curves", "snapshots"])
def test_a_trials_file_that_is_none_is_told_and_the_others_are_read(root: Path, kind: str, how: str) -> None:
    odd = put(root, f"{kind}/sweep=made/{0:012x}.parquet", how)
    store = Store(root)
    assert len(store.trials()) == (3 if kind == "trials" else 4)
    assert (store.curves().num_rows, store.snapshots().num_rows) == (48 if kind == "snapshots" else 36, 0)
    told = {bad.path: bad.problem for bad in store.bad_files}
    assert list(told) == [str(odd)]
    assert told[str(odd)].startswith(how.replace("nowhere", "").replace("itself", ""))
    for command in (["query", "SELECT * FROM trials JOIN snapshots USING (trial_id)"], ["compact"]):
        assert f"skipped {odd}: is a" in output_of(root, *command) or (kind, command[0]) == ("curves", "query")
    assert os.path.lexists(odd)


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("kind", ["trials", "curves"])
def test_a_compacted_file_that_is_none_is_told(store: Store, root: Path, kind: str, how: str) -> None:
    compact_sweep(store, "made")
    odd = put(root, f"{kind}/sweep=made/compacted.parquet", how)
    again = Store(root)
    assert (len(again.trials()), len(again.curves())) == ((0, 0) if kind == "trials" else (4, 0))
    assert [bad.path for bad in again.bad_files] == [str(odd)]
    output_of(root, "compact")
    assert os.path.lexists(odd)


@pytest.mark.parametrize("how", ODD)
def test_a_record_that_is_none_is_one_message(root: Path, how: str) -> None:
    odd = put(root, "sweeps/made.json", how)
    for command in (["status"], ["report", "made"], ["sync"], ["ui"]):
        assert f"{odd} is damaged (is a" in output_of(root, *command)


@pytest.mark.parametrize("how", ODD)
def test_a_mark_of_the_store_that_is_none_is_one_message(root: Path, how: str) -> None:
    odd = put(root, "cosweep.json", how)
    for command in (["status"], ["query", "SELECT 1"], ["report", "made"], ["compact"], ["sync"]):
        assert f"{odd} cannot be read (is a" in output_of(root, *command)


@pytest.mark.parametrize("how", ODD)
def test_a_pulse_that_is_none_says_nothing(root: Path, how: str) -> None:
    put(root, "pulses/made.json", how)
    assert Store(root).pulse("made") == {}
    assert "4 of 4" in output_of(root, "status")


@pytest.mark.parametrize("how", [*ODD, "is a file"])
@pytest.mark.parametrize("folder", ["trials", "curves", "sweeps", "curves/sweep=made"])
def test_a_folder_that_is_none_is_one_message(store: Store, root: Path, folder: str, how: str) -> None:
    if how == "is a folder":
        return
    odd = root / folder
    odd.rename(root / "elsewhere")
    odd.write_bytes(b"") if how == "is a file" else ODD[how](odd)
    with pytest.raises(CosweepError, match=r"where results have a folder; move it away|Too many levels of symbolic"):
        store.sweeps() if folder == "sweeps" else store.curves("made")
    for command in (["status"], ["query", "SELECT * FROM curves"], ["report", "made"], ["compact"]):
        output_of(root, *command)


def test_a_sweeps_folder_that_is_none_is_told(root: Path) -> None:
    for name, how in enumerate(ODD):
        if how != "is a folder":
            put(root, f"trials/sweep={name}", how)
    (root / "trials/sweep=file").write_bytes(b"")
    store = Store(root)
    assert store.swept() == ["made"]
    assert {bad.path for bad in store.bad_files} == {
        str(root / f"trials/sweep={name}") for name in (*range(1, len(ODD)), "file")
    }
    assert len(store.trials()) == 4


def test_links_to_files_are_followed_as_tools_leave_them_that_keep_large_files_elsewhere(store: Store) -> None:
    assert store.local_path is not None
    before = store.trials().to_pylist(), store.curves().to_pylist()
    for path in sorted(store.local_path.rglob("*.parquet")) + sorted(store.local_path.rglob("*.json")):
        kept = store.local_path / ".annex" / path.relative_to(store.local_path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.rename(kept)
        path.symlink_to(kept)
    again = Store(store.location)
    assert (again.trials().to_pylist(), again.curves().to_pylist()) == before
    compact_sweep(again, "made")
    assert sorted(again.trials().to_pylist(), key=lambda row: str(row["trial_id"])) == before[0]
    assert again.bad_files == []


@pytest.mark.parametrize("path", [f"trials/sweep=made/{0:012x}.parquet", "sweeps/made.json", "cosweep.json"])
def test_a_file_of_no_sane_size_is_not_read(root: Path, path: str) -> None:
    with (root / path).open("r+b") as file:
        file.truncate(1 << 40)
    for command in (["status"], ["query", "SELECT * FROM trials"], ["report", "made"]):
        if command[0] == "query" and path.startswith("sweeps"):
            continue  # which needs no record
        assert "is larger than" in output_of(root, *command)
