"""Servers that a sweep needs and that fail for a while: nothing is lost, nothing runs twice."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from cosweep.results.store import Store
from cosweep.tracking.tracker import sync_sweep
from tests.integration.processes import LONGER, TINY, UNTRACKED, Numbers, finish, numbers, start, wait_for, watched
from tests.servers import aws, free_port, logged_trials, mlflow_server

pytestmark = pytest.mark.integration

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
    with aws() as endpoint:
        boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1").create_bucket(Bucket="bucket")
        host, _, port = endpoint.partition(":")
        made = Door(host, int(port))
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def test_a_bucket_that_fails_for_a_while_delays_results_and_loses_none(
    tmp_path: Path, reference: Numbers, door: Door
) -> None:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    root = f"s3://bucket/run?endpoint_override=127.0.0.1:{door.server_address[1]}&scheme=http"
    driver = start(tmp_path, "tiny.yaml", *LONGER, "--set", f"results.root={root}")
    with watched(driver) as lines:
        wait_for(lambda: "4 to run" in "".join(lines))
        door.shut()
        wait_for(lambda: "waits to begin until the results location answers" in "".join(lines))
        door.is_shut = False
        wait_for(lambda: re.search(r"trial \w+: the results location answers", "".join(lines)))
        time.sleep(0.5)  # a trial that is just looking for its checkpoint has its client try again for minutes
        door.shut()
        wait_for(lambda: "has ended and waits until its results can be written" in "".join(lines), 400)
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
    many = ["--set", "space.seed.grid=[0, 1, 2, 3, 4]", "--set", "trial.optimizer.epochs=60"]
    with mlflow_server(tmp_path, port):
        driver = start(tmp_path, "tiny.yaml", *many, "--set", f"tracking.uri={uri}")
        wait_for(lambda: logged_trials(place))
    assert len(logged_trials(place)) < 10, "the server ended too late to test anything"
    with mlflow_server(tmp_path, port):
        code, output = finish(driver)
    assert code == 0, output
    assert "Traceback" not in output
    store = Store(tmp_path / "results")
    rows = sorted(store.trials("tiny")["trial_id"].to_pylist())
    missed = re.search(r"MLflow misses (\d+) trials .*; later: cosweep sync tiny", output)
    if missed is None:
        assert logged_trials(place) == rows
    sync_sweep(store, "tiny", place)
    assert logged_trials(place) == rows
