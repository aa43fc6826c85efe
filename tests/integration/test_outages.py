"""Servers that a sweep needs and that fail for a while: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cosweep.results.query import run_query
from cosweep.results.store import Store
from cosweep.sweep.tracking import sync_sweep
from tests.integration.processes import CLOCKS, TINY, finish, start, wait_for
from tests.integration.test_carry_on import LONGER
from tests.integration.test_faults import Numbers, definition, reference
from tests.integration.test_tracking import children, free_port

pytestmark = pytest.mark.integration
__all__ = ["reference"]  # the fixture

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


class Door(ThreadingHTTPServer):
    """Passes requests on to a server, or answers all with 500 while it is shut."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.target, self.shut, self.refused = target, threading.Event(), 0


class Passage(BaseHTTPRequestHandler):
    """One connection through a door."""

    protocol_version = "HTTP/1.1"
    server: Door

    def handle_any(self) -> None:
        """Answer as the server behind does, or as one that is broken."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        if self.server.shut.is_set():
            self.server.refused += 1
            self.reply(500, {}, b"<Error><Code>InternalError</Code></Error>")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        request = Request(f"http://{self.server.target}{self.path}", body, headers, method=self.command)
        try:
            with urlopen(request, timeout=30) as answer:
                self.reply(answer.status, dict(answer.headers), answer.read())
        except HTTPError as error:
            self.reply(error.code, dict(error.headers), error.read())

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer."""
        self.send_response_only(status)
        known = {name.lower(): value for name, value in headers.items()}
        length = known.get("content-length", "0") if self.command == "HEAD" else str(len(body))
        dropped = ("content-length", "transfer-encoding", "connection")
        for name, value in ({k: v for k, v in known.items() if k not in dropped} | {"content-length": length}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent."""


for method in METHODS:
    setattr(Passage, f"do_{method}", Passage.handle_any)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The way to a bucket named ``bucket``."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="bucket")
    made = Door(f"{host}:{port}")
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    server.stop()


def numbers(store: Store) -> Numbers:
    trials = run_query(store, f"SELECT * EXCLUDE ({CLOCKS}) FROM trials ORDER BY trial_id").to_pylist()
    curves = run_query(store, "SELECT * FROM curves ORDER BY trial_id, step").to_pylist()
    return [repr(row) for row in trials], [repr(row) for row in curves]


def test_a_bucket_that_fails_for_a_while_delays_results_and_loses_none(
    tmp_path: Path, reference: Numbers, door: Door
) -> None:
    root = f"s3://bucket/run?endpoint_override=127.0.0.1:{door.server_port}&scheme=http"
    driver = start(definition(tmp_path), "tiny.yaml", *LONGER, "--set", f"results.root={root}")
    store = Store(root)
    wait_for(lambda: store.files.names("sweeps"))
    lines: list[str] = []
    assert driver.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(driver.stdout,))
    reader.start()
    wait_for(lambda: "running" in "".join(lines))
    door.shut.set()
    wait_for(lambda: re.search(r"has ended and waits until its results can be written", "".join(lines)))
    door.shut.clear()
    assert driver.wait(240) == 0, "".join(lines)
    reader.join()
    output = "".join(lines)
    assert door.refused > 5
    assert re.search(r"trial \w+: its results are written now", output)
    assert "runs again" not in output
    assert "Traceback" not in output
    assert numbers(Store(root)) == reference


def test_mlflow_that_goes_and_comes_back_misses_no_trial(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    port = free_port()
    uri, place = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/server.db"
    server = mlflow_server(place, port)
    driver = start(tmp_path, "tiny.yaml", "--set", "space.seed.grid=[0, 1, 2, 3, 4]", "--set", f"tracking.uri={uri}")
    wait_for(lambda: (tmp_path / "server.db").exists() and len(logged(place)) >= 1)
    end(server)
    before = len(logged(place))
    assert before < 10, "the server ended too late to test anything"
    server = mlflow_server(place, port)
    code, output = finish(driver)
    end(server)
    assert code == 0, output
    assert "Traceback" not in output
    store = Store(tmp_path / "results")
    rows = sorted(store.trials("tiny")["trial_id"].to_pylist())
    missed = re.search(r"MLflow misses (\d+) trials .*; later: cosweep sync tiny", output)
    found = children(place)
    assert len(found) == 10 - (int(missed[1]) if missed else 0)
    sync_sweep(store, "tiny", place)
    assert children(place) == rows


def logged(place: str) -> list[str]:
    try:
        return children(place)
    except AttributeError:  # no experiment yet
        return []


def mlflow_server(place: str, port: int) -> subprocess.Popen[bytes]:
    """A server on loopback that answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", place, "--workers", "1"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: answers(port), 180)
    return server


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def end(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
