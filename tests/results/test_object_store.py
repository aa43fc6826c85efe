"""Results in an object store: a server that speaks S3 on this machine."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

import cosweep
from cosweep.analysis.findings import make_findings
from cosweep.cli.commands import app
from cosweep.errors import CosweepError
from cosweep.results import compaction
from cosweep.results.buckets import ObjectFiles
from cosweep.results.compaction import compact_sweep
from cosweep.results.files import BusyError
from cosweep.results.query import run_query
from cosweep.results.store import Store
from tests.results.rows import broken_row, curve, snapshot_rows, trial_row
from tests.results.test_compaction import names, rows_of
from tests.servers import aws


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws() as address:
        yield address


@pytest.fixture
def address(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in a bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1").create_bucket(Bucket="bucket")
    return located("bucket/" + tmp_path.name.replace("_", "-"), endpoint)


def located(place: str, endpoint: str) -> str:
    return f"s3://{place}?endpoint_override={endpoint}&scheme=http&region=us-east-1"


@pytest.fixture
def store(address: str) -> Store:
    made = Store(address)
    made.create()
    made.write_sweep("s", {"name": "s", "trial_ids": ["a", "b", "f"], "axes": ["epsilon"], "tracking": {"uri": None}})
    made.write_trial("s", trial_row("a", noise_scale=2.0), curve())
    made.write_trial("s", broken_row("b"), curve(), snapshot_rows(("before", 5)))
    made.write_trial("s", trial_row("f", status="failed", state=None, co=None), [])
    return made


def test_trials_in_a_bucket_read_as_on_a_disk(store: Store, tmp_path: Path) -> None:
    local = Store(tmp_path)
    local.write_trial("s", trial_row("a", noise_scale=2.0), curve())
    local.write_trial("s", broken_row("b"), curve(), snapshot_rows(("before", 5)))
    local.write_trial("s", trial_row("f", status="failed", state=None, co=None), [])
    assert rows_of(store) == rows_of(local)
    assert store.trial("s", "b") == local.trial("s", "b")
    assert store.local_path is None
    assert (store.sweeps(), store.swept()) == (["s"], ["s"])


def test_queries_and_reports_read_a_bucket(store: Store, address: str) -> None:
    assert run_query(store, "SELECT count(*) AS n FROM curves").to_pylist() == [{"n": 6}]
    assert cosweep.open_results(address, sweep="s").trials.filter("co").select("trial_id").fetchall() == [("b",)]
    assert make_findings(Store(address), "s").trials.num_rows == 3


def test_compaction_in_a_bucket_keeps_the_rows(store: Store) -> None:
    before = rows_of(store)
    compact_sweep(store, "s")
    assert rows_of(store) == before
    assert names(store, "trials") == ["compacted.parquet", "f.parquet"]
    assert store.files.names("locks/compaction") == {}
    store.write_trial("s", trial_row("a", noise_scale=3.0), curve(1))
    before = rows_of(store)
    assert store.trial("s", "a")[0]["noise_scale"] == 3.0
    compact_sweep(store, "s")
    assert rows_of(store) == before


def test_the_command_compacts_a_bucket(store: Store, address: str) -> None:
    result = CliRunner().invoke(app, ["compact", "--root", address])
    assert result.exit_code == 0, result.output
    assert names(store, "curves") == ["compacted.parquet", "f.parquet"]


def test_a_second_compaction_is_refused_until_the_lock_of_the_first_is_old(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.files.write("locks/compaction/other.json", b"{}")
    with pytest.raises(CosweepError, match=r"another compaction .*delete bucket/.*/locks/compaction/other.json"):
        compact_sweep(store, "s")
    assert list(store.files.names("locks/compaction")) == ["other.json"]
    time.sleep(1.1)  # the server counts whole seconds
    monkeypatch.setattr(compaction, "LOCK_SECONDS", 0.5)
    compact_sweep(store, "s")
    assert names(store, "trials") == ["compacted.parquet", "f.parquet"]


def test_who_stood_still_while_another_took_over_gives_up(store: Store) -> None:
    first = Store(store.location).files
    with first.exclusive("run", 2) as still_in_first:
        still_in_first()
        time.sleep(3.1)  # the server counts whole seconds
        with store.files.exclusive("run", 2) as still_in_second:
            still_in_second()
            with pytest.raises(BusyError, match="had stood still"):
                still_in_first()


def test_who_waits_learns_whether_the_other_lives(store: Store) -> None:
    first = Store(store.location).files
    with first.exclusive("run", 4) as still_in, ThreadPoolExecutor() as pool:
        second = pool.submit(lambda: store.files.exclusive("run", 4, wait=True).__enter__())
        while not second.done():
            time.sleep(0.2)
            still_in()
        with pytest.raises(BusyError, match=rf"another run works on .*: process {os.getpid()} on"):
            second.result()
    store.files.write("locks/run/dead.json", b"{}")
    with store.files.exclusive("run", 2, wait=True):
        assert "dead.json" not in store.files.names("locks/run")


def test_a_failed_upload_leaves_the_old_file(store: Store) -> None:
    def fill(content: bytes, *, fail: bool) -> None:
        with store.files.replacing("x") as file:
            file.write(content)
            if fail:
                raise RuntimeError("full")

    store.files.write("x", b"old")
    with pytest.raises(RuntimeError, match="full"):
        fill(b"half", fail=True)
    assert store.files.read("x") == b"old"
    fill(b"new", fail=False)
    assert store.files.read("x") == b"new"


def test_a_missing_bucket_is_one_message(address: str, endpoint: str) -> None:
    with pytest.raises(CosweepError, match="there is no bucket nowhere"):
        Store(located("nowhere/results", endpoint))
    with pytest.raises(CosweepError, match="no results in s3://bucket/empty"):
        cosweep.open_results(located("bucket/empty", endpoint))


@pytest.mark.usefixtures("address")
def test_a_server_that_does_not_answer_is_one_message_within_seconds() -> None:
    started = time.monotonic()
    result = CliRunner().invoke(app, ["status", "--root", located("bucket/results", "127.0.0.1:1")])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "cannot be reached; check address, network and credentials" in result.output
    assert time.monotonic() - started < 5


def test_wrong_credentials_are_one_message(address: str, endpoint: str) -> None:
    def check_credentials(requests: str) -> None:
        """Have the server check them after so many requests."""
        plain = {"Content-Type": "text/plain"}
        told = urllib.request.Request(f"http://{endpoint}/moto-api/reset-auth", requests.encode(), plain)
        urllib.request.urlopen(told).close()

    check_credentials("0")
    try:
        with pytest.raises(CosweepError, match=r"cannot be reached; check .* credentials .*ACCESS_DENIED"):
            Store(address)
    finally:
        check_credentials("inf")


def test_trouble_on_the_way_is_one_message_not_one_for_each_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(store.files, ObjectFiles)
    broken = Store(store.location)

    class Refusing:
        def __getattr__(self, name: str) -> object:
            def refuse(*_: object, **__: object) -> None:
                raise OSError("AWS Error ACCESS_DENIED")

            return refuse

    monkeypatch.setattr(broken.files, "_fs", Refusing())
    with pytest.raises(CosweepError, match="ACCESS_DENIED"):
        broken.trials()
    assert broken.bad_files == []
