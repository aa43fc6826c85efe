"""Servers that a sweep needs and that fail for a while: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cosweep.results.query import run_query
from cosweep.results.store import Store
from cosweep.sweep.tracking import sync_sweep
from tests.integration.processes import CLOCKS, TINY, finish, start, wait_for, watched
from tests.integration.test_carry_on import LONGER
from tests.integration.test_faults import Numbers, definition, reference
from tests.integration.test_tracking import children, free_port

pytestmark = pytest.mark.integration
__all__ = ["reference"]  # the fixture


BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Door(socketserver.ThreadingTCPServer):
    """Passes connections on to a server; while it is shut, it cuts them and answers new ones with 500."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.target, self.is_shut = (host, port), False
        self.open: set[socket.socket] = set()

    def shut(self) -> None:
        """Refuse all from now on."""
        self.is_shut = True
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Passage(socketserver.BaseRequestHandler):
    """One connection through a door."""

    server: Door

    def handle(self) -> None:
        """Pass bytes on both ways until one side ends."""
        if self.server.is_shut:
            self.request.recv(65536)
            self.request.sendall(BROKEN)
            return
        with socket.create_connection(self.server.target) as behind:
            self.server.open |= {behind, self.request}
            back = threading.Thread(target=pass_on, args=(behind, self.request), daemon=True)
            back.start()
            pass_on(self.request, behind)
            back.join(5)
            self.server.open -= {behind, self.request}


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Send what comes from one to the other until it ends."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


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
    made = Door(host, port)
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
    root = f"s3://bucket/run?endpoint_override=127.0.0.1:{door.server_address[1]}&scheme=http"
    driver = start(definition(tmp_path), "tiny.yaml", *LONGER, "--set", f"results.root={root}")
    with watched(driver) as lines:
        wait_for(lambda: "4 to run" in "".join(lines))
        door.shut()
        wait_for(lambda: "waits to begin until the results location answers" in "".join(lines))
        door.is_shut = False
        wait_for(lambda: re.search(r"trial \w+: the results location answers", "".join(lines)))
        door.shut()
        wait_for(lambda: "has ended and waits until its results can be written" in "".join(lines))
        door.is_shut = False
        assert driver.wait(240) == 0, "".join(lines)
    output = "".join(lines)
    assert re.search(r"trial \w+: its results are written now", output)
    assert "runs again" not in output
    assert "Traceback" not in output
    assert numbers(Store(root)) == reference


def test_mlflow_that_goes_and_comes_back_misses_no_trial(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    port = free_port()
    uri, place = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/server.db"
    server = mlflow_server(place, port)
    many = ["--set", "space.seed.grid=[0, 1, 2, 3, 4]", "--set", "trial.optimizer.epochs=60"]
    driver = start(tmp_path, "tiny.yaml", *many, "--set", f"tracking.uri={uri}")
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
    if missed is None:
        assert children(place) == rows
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
        cwd=Path(place.removeprefix("sqlite:///")).parent,  # where it puts artifacts
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
