"""What a real run keeps, opens and loads: no secret in any file, no socket beyond this machine, no planted module."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cosweep.results.store import Store
from cosweep.tracking.tracker import sync_sweep
from tests.integration.processes import COSWEEP, TINY, finish, start, wait_for
from tests.results.sweeps import write_sweep
from tests.security.planted import modules_that_ran, plant
from tests.servers import answers, free_port, mlflow_server

pytestmark = pytest.mark.integration

PASSWORD, KEY, TOKEN = "pass-5a7c0ffee5", "key/4d15c0de+d1", "70ce" * 16
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@dataclass
class Ran:
    """A sweep that ran with secrets in its environment."""

    output: str
    files: list[Path]
    planted: list[str] = field(default_factory=list)
    arguments: set[str] = field(default_factory=set)
    listened: set[tuple[str, str]] = field(default_factory=set)

    def watch(self, process: psutil.Process) -> bool:
        """Note arguments and sockets of a process and of those below it; True when it ended."""
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        try:
            for one in (process, *process.children(recursive=True)):
                self.arguments.add(" ".join(one.cmdline()))
                self.listened |= {(one.name(), address) for address in listening(one)}
        except psutil.NoSuchProcess:  # it ended meanwhile; the others are seen the next time
            pass
        return False


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which it takes connections."""
    return {c.laddr.ip for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as name:  # short, for Ray's sockets
        folder = Path(name)
        (folder / "tiny.yaml").write_text(TINY)
        marks = plant(folder)
        (folder / "server").mkdir()
        port = free_port()
        with mlflow_server(folder / "server", port):
            seen = run_with_secrets(folder, f"http://me:{PASSWORD}@127.0.0.1:{port}")
            seen.planted = modules_that_ran(marks)
            yield seen


def run_with_secrets(folder: Path, uri: str) -> Ran:
    environment = {"MLFLOW_TRACKING_URI": uri, "AWS_SECRET_ACCESS_KEY": KEY, "RAY_AUTH_TOKEN": TOKEN}
    process = start(folder, "tiny.yaml", RAY_TMPDIR=f"{folder}/ray", **environment)
    seen = Ran("", [])
    running = psutil.Process(process.pid)
    wait_for(lambda: seen.watch(running), 240)
    code, seen.output = finish(process)
    assert code == 0, seen.output
    seen.files = [path for path in folder.rglob("*") if path.is_file()]
    return seen


def test_no_file_and_no_line_of_a_run_holds_a_secret(ran: Ran) -> None:
    names = {path.name for path in ran.files}
    assert {"server.db", "report.html", "raylet.out", "tiny.json"} <= names, names
    secrets = [secret.encode() for secret in (PASSWORD, KEY, TOKEN)]
    assert [path for path in ran.files if any(secret in path.read_bytes() for secret in secrets)] == []
    assert "http://***@127.0.0.1" in ran.output
    assert [secret for secret in (PASSWORD, KEY, TOKEN) if secret in ran.output] == []


def test_no_argument_of_a_process_holds_a_secret(ran: Ran) -> None:
    assert any("raylet" in arguments for arguments in ran.arguments)
    assert [a for a in ran.arguments if any(secret in a for secret in (PASSWORD, KEY, TOKEN))] == []


def test_a_run_listens_on_loopback_only(ran: Ran) -> None:
    assert {"gcs_server", "raylet"} <= {name for name, _ in ran.listened}
    assert [found for found in ran.listened if found[1] not in LOOPBACK] == []


def test_no_module_of_the_current_folder_runs_in_the_driver_in_rays_workers_or_in_the_writer_of_mlflow(
    ran: Ran,
) -> None:
    assert ran.planted == []


CLUSTER = """
import json, os, sys
from cosweep.cluster.machines import connected
with connected():
    import ray
    node = ray._private.worker._global_node
    session = node.get_session_dir_path()
    told = {"address": ray.get_runtime_context().gcs_address, "session": session, "token": os.environ["RAY_AUTH_TOKEN"]}
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
"""

INTRUDER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
print(ray.get(ray.remote(lambda: "ran").remote()))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The Ray that a run starts, and the home folder it was started with."""
    home = tmp_path_factory.mktemp("home")
    environment = without_ray() | {"HOME": str(home)}
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = next(line for line in process.stdout if line.startswith("{"))
            yield {**json.loads(told), "home": str(home)}
        finally:
            process.communicate("\n", timeout=60)


def without_ray() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}


def intrude(cluster: dict[str, str], home: Path, token: str) -> str:
    """What a process of another home folder prints that has a token, or none, when it sends code to a cluster."""
    guessed = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    environment = without_ray() | {"HOME": str(home), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **guessed}
    command = [sys.executable, "-c", INTRUDER, cluster["address"]]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=45).stdout
    except subprocess.TimeoutExpired as refused:  # Ray's client tries for long
        return (refused.stdout or b"").decode()


def test_only_who_has_the_token_runs_code(cluster: dict[str, str], tmp_path: Path) -> None:
    tokens = [cluster["token"], "", "0" * 64]
    with ThreadPoolExecutor() as pool:
        with_token, without, wrong = pool.map(lambda token: intrude(cluster, tmp_path, token), tokens)
    assert with_token.split() == ["ran"]
    assert "ran" not in without
    assert "ran" not in wrong


def test_no_other_user_reaches_the_files_of_a_cluster(cluster: dict[str, str]) -> None:
    private = Path(cluster["session"]).parent.parent
    assert private.stat().st_mode & 0o077 == 0
    assert not (Path(cluster["home"]) / ".ray/auth_token").exists()


def test_the_page_of_mlflow_listens_on_loopback_only_and_loads_no_planted_module(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    write_sweep(store, epsilons=(64 / 255,), betas=(0.0, 16 / 255))
    sync_sweep(store, "made", f"sqlite:///{tmp_path}/results/mlflow.db")
    marks, port = plant(tmp_path), free_port()
    command = [COSWEEP, "ui", "made", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=without_ray(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}"))
            below = psutil.Process(process.pid).children(recursive=True)
            addresses = {address for one in below for address in listening(one)}
            arguments = [word for one in below for word in one.cmdline()]
            asked = [asked_by_a_page(port, Host=host) for host in (f"localhost:{port}", "evil.example")]
            asked.append(asked_by_a_page(port, Origin="http://evil.example"))
        finally:
            process.terminate()
            process.wait(60)
    assert addresses == {"127.0.0.1"}
    assert asked == [200, 403, 403]
    assert not any("sqlite:" in word for word in arguments)
    assert modules_that_ran(marks) == []
    with pytest.raises(OSError, match="refused"), socket.create_connection((outer_address(), port), timeout=5):
        pass


def asked_by_a_page(port: int, **headers: str) -> int:
    """Status of MLflow's answer to a browser that shows a page of another site, or under a name of another site's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        body = '{"max_results": 1}'
        connection.request(
            "POST", "/api/2.0/mlflow/experiments/search", body, {"Content-Type": "application/json", **headers}
        )
        return connection.getresponse().status


def outer_address() -> str:
    """An address of this machine that others can reach, if it has one."""
    found = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family is socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "127.0.0.2")
