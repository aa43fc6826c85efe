"""Ray clusters of several machines, each a real raylet in a process group of its own on this one."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.processes import wait_for
from tests.servers import free_port

RAY = str(Path(sys.executable).with_name("ray"))
OBJECT_STORE_BYTES = 200_000_000


@dataclass
class Cluster:
    """A head, and machines that come and go.

    Attributes:
        folder: For Ray's files; short, since sockets have short names.
        address: Of the head, as in RAY_ADDRESS.
        dashboard: Where jobs are submitted.
        environment: What clients need.
        machines: Their ``ray start`` processes.
    """

    folder: Path
    address: str
    dashboard: str
    environment: dict[str, str]
    machines: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a machine, and wait until the cluster has it."""
        return self.start("--address", self.address, *options, before=before)

    def kill(self, machine: subprocess.Popen[bytes]) -> None:
        """Have a machine vanish: all of its processes at once, workers included."""
        if machine.poll() is None:
            family = psutil.Process(machine.pid).children(recursive=True)
            for process in [*family, psutil.Process(machine.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=30)
        machine.wait()

    def preempt(self, machine: subprocess.Popen[bytes]) -> None:
        """Have a machine vanish like a spot machine, of which its provider says so before."""
        started = [
            line for process in psutil.Process(machine.pid).children(recursive=True) for line in process.cmdline()
        ]
        (node,) = (line.removeprefix("--node_id=") for line in started if line.startswith("--node_id="))
        command = [RAY, "drain-node", "--address", self.address, "--node-id", node]
        command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        subprocess.run(
            [*command, "--deadline-remaining-seconds", "1"],
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
        )
        self.kill(machine)

    def start(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """A machine that is up; ``options`` are those of ``ray start``, which a command ``before`` it may start."""
        log = self.folder / f"machine{len(self.machines)}.log"
        command = [*before, RAY, "start", "--block", "--object-store-memory", str(OBJECT_STORE_BYTES), *options]
        command += ["--dashboard-agent-listen-port", str(free_port())]  # its usual port is that of any other cluster's
        with log.open("wb") as output:
            machine = subprocess.Popen(
                command,
                env={**os.environ, **self.environment, "RAY_ADDRESS": ""},
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.machines.append(machine)
        wait_for(lambda: "Ray runtime started" in log.read_text() or machine.poll() is not None, 120)
        assert machine.poll() is None, log.read_text()
        return machine


@contextmanager
def cluster(folder: Path, *options: str, dashboard: bool = False) -> Iterator[Cluster]:
    """A cluster with a head that has a token, on loopback; ended with all its processes."""
    port, http = free_port(), free_port()
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": f"127.0.0.1:{port}"}
    environment["PATH"] = f"{Path(RAY).parent}{os.pathsep}{os.environ['PATH']}"
    made = Cluster(folder, f"127.0.0.1:{port}", f"http://127.0.0.1:{http}", environment)
    try:
        made.start(
            *("--head", "--port", str(port), "--node-ip-address", "127.0.0.1", "--temp-dir", str(folder / "ray")),
            *("--include-dashboard", str(dashboard).lower(), "--dashboard-host", "127.0.0.1"),
            *("--dashboard-port", str(http), *options),
        )
        yield made
    finally:
        for machine in made.machines:
            made.kill(machine)
